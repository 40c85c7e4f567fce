package repo

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
)

// pageSize cuts the value of a magic attribute that is too long for the kernel,
// which takes 64 KB.
const pageSize = 40000

// magic is one attribute that is computed, as the official client has them.
type magic struct {
	name  string
	has   func(v *Revision, n Node) bool // whether it means anything for n; nil for always
	value func(ctx context.Context, v *Revision, n Node) (string, error)
}

func (m magic) present(v *Revision, n Node) bool { return m.has == nil || m.has(v, n) }

// Xattr is the value of an extended attribute: the entry's own, or one of the
// magic ones, which any path answers where they mean something. A long magic
// value is read by pages: "user.chunk_list~2" (or @2) is its page 2, "~?" the
// number of pages. An absent attribute is fs.ErrNotExist.
func (v *Revision) Xattr(ctx context.Context, n Node, name string) ([]byte, error) {
	attrs, err := v.stored(ctx, n)
	if err != nil {
		return nil, err
	}
	if value, found := attrs[name]; found {
		return value, nil
	}
	if strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "xfsroot.") {
		base, page := name, ""
		if i := strings.LastIndexAny(name, "~@"); i > 0 {
			base, page = name[:i], name[i+1:]
		}
		for _, m := range magics() {
			if m.name == base && m.present(v, n) {
				value, err := m.value(ctx, v, n)
				if err != nil {
					return nil, err
				}
				return cut(value, page)
			}
		}
	}
	return nil, fmt.Errorf("%s: attribute %s: %w", n.Path, name, fs.ErrNotExist)
}

// cut takes a page out of a value.
func cut(value, page string) ([]byte, error) {
	pages := max((len(value)+pageSize-1)/pageSize, 1)
	switch page {
	case "?":
		return []byte(strconv.Itoa(pages)), nil
	case "":
		page = "0"
	}
	i, err := strconv.Atoi(page)
	if err != nil || i < 0 || i >= pages {
		return nil, fmt.Errorf("page %q of %d: %w", page, pages, fs.ErrNotExist)
	}
	return []byte(value[i*pageSize : min((i+1)*pageSize, len(value))]), nil
}

// Xattrs lists the names of the attributes: the entry's own and, on the root
// directory only, the magic ones.
func (v *Revision) Xattrs(ctx context.Context, n Node) ([]string, error) {
	attrs, err := v.stored(ctx, n)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(attrs))
	if n.Path != "" {
		return names, nil
	}
	for _, m := range magics() {
		if m.present(v, n) && !slices.Contains(names, m.name) {
			names = append(names, m.name)
		}
	}
	return names, nil
}

// stored are the attributes that the catalog holds. An entry at a transition
// point has those of its own catalog.
func (v *Revision) stored(ctx context.Context, n Node) (map[string][]byte, error) {
	if n.Entry.Flags&transition != 0 && n.Entry.HasXattrs {
		var err error
		if n, err = v.Enter(ctx, n); err != nil {
			return nil, err
		}
	}
	if !n.Entry.HasXattrs {
		return nil, nil
	}
	return n.Catalog.Xattrs(n.Entry.Row)
}

// magics is the table of computed attributes.
func magics() []magic {
	return slices.Concat(repositoryMagics(), contentMagics(), networkMagics())
}

// about makes a magic attribute of the whole repository.
func about(name string, value func(v *Revision) string) magic {
	return magic{name, nil, func(_ context.Context, v *Revision, _ Node) (string, error) { return value(v), nil }}
}

func repositoryMagics() []magic {
	return []magic{
		about("user.fqrn", func(v *Revision) string { return v.repo.cfg.FQRN }),
		about("user.revision", func(v *Revision) string { return strconv.FormatUint(v.manifest.Revision, 10) }),
		about("user.root_hash", func(v *Revision) string { return v.manifest.Root.String() }),
		about("user.timestamp", func(v *Revision) string { return strconv.FormatInt(v.manifest.Timestamp, 10) }),
		about("user.tag", func(v *Revision) string { return v.repo.cfg.Tag }),
		about("user.expires", (*Revision).expires),
		about("user.nclg", func(v *Revision) string { return strconv.Itoa(v.repo.Catalogs()) }),
		about("user.version", func(v *Revision) string { return v.repo.cfg.Version }),
		{"user.pubkeys", nil, pubkeys},
		{"user.repo_counters", nil, repoCounters},
		{"user.repo_metainfo", func(v *Revision, _ Node) bool { return !v.manifest.Metainfo.IsZero() }, repoMetainfo},
		{"user.catalog_counters", nil, catalogCounters},
	}
}

// expires is the number of minutes until a newer revision is asked for.
func (v *Revision) expires() string {
	r := v.repo
	if r.cfg.Tag != "" {
		return "never (fixed root catalog)"
	}
	ttl := r.TTL()
	r.mu.Lock()
	left := ttl - r.cfg.Now().Sub(r.checked)
	r.mu.Unlock()
	return strconv.Itoa(int(max(left, 0) / time.Minute))
}

func pubkeys(_ context.Context, v *Revision, _ Node) (string, error) {
	var all []byte
	for _, key := range v.repo.cfg.Keys {
		text, err := MarshalKey(key)
		if err != nil {
			return "", err
		}
		all = append(all, text...)
	}
	return string(all), nil
}

func repoCounters(_ context.Context, v *Revision, _ Node) (string, error) {
	s, err := v.root.Catalog.Statistics()
	return s.Total().String(), err
}

func repoMetainfo(ctx context.Context, v *Revision, _ Node) (string, error) {
	text, err := v.repo.small(ctx, cas.Object{Hash: v.manifest.Metainfo, Suffix: cas.MetainfoSuffix, Size: -1})
	return string(text), err
}

func catalogCounters(ctx context.Context, v *Revision, n Node) (string, error) {
	n, err := v.Enter(ctx, n)
	if err != nil {
		return "", err
	}
	s, err := n.Catalog.Statistics()
	return fmt.Sprintf("catalog_hash: %s\ncatalog_mountpoint: %s\n%s", n.CatalogHash, n.mount, s.Total()), err
}

func isRegular(_ *Revision, n Node) bool  { return n.Entry.IsRegular() }
func isLink(_ *Revision, n Node) bool     { return n.Entry.IsSymlink() }
func isExternal(_ *Revision, n Node) bool { return n.Entry.Flags&catalog.External != 0 }
func hasHash(_ *Revision, n Node) bool    { return n.Entry.IsRegular() && !n.Entry.Hash.IsZero() }

// ofEntry makes a magic attribute that the entry alone decides.
func ofEntry(name string, has func(*Revision, Node) bool, value func(e *catalog.Entry) string) magic {
	return magic{name, has, func(_ context.Context, _ *Revision, n Node) (string, error) { return value(&n.Entry), nil }}
}

func contentMagics() []magic {
	return []magic{
		ofEntry("user.hash", hasHash, func(e *catalog.Entry) string { return e.Hash.String() }),
		{"user.lhash", storedAsHashed, storedHash},
		{"user.chunks", isRegular, func(_ context.Context, _ *Revision, n Node) (string, error) {
			chunks, err := chunksOf(n)
			return strconv.Itoa(len(chunks)), err
		}},
		{"user.chunk_list", isRegular, chunkList},
		ofEntry("user.compression", isRegular, func(e *catalog.Entry) string { return e.Compression.String() }),
		ofEntry("user.direct_io", isRegular, func(e *catalog.Entry) string { return digit(e.Flags&catalog.DirectIO != 0) }),
		ofEntry("user.external_file", isRegular, func(e *catalog.Entry) string { return digit(e.Flags&catalog.External != 0) }),
		{"user.external_url", isExternal, func(_ context.Context, v *Revision, n Node) (string, error) {
			return v.status().ExternalHost + n.CatalogPath(), nil
		}},
		ofEntry("user.rawlink", isLink, func(e *catalog.Entry) string { return e.Symlink }),
		ofEntry("xfsroot.rawlink", isLink, func(e *catalog.Entry) string { return e.Symlink }),
	}
}

func digit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// storedAsHashed tells whether the bytes in the cache are those that the hash is
// of, so that comparing them means something.
func storedAsHashed(v *Revision, n Node) bool {
	return hasHash(v, n) && n.Entry.Compression == cas.None && n.Entry.Flags&catalog.Chunked == 0
}

// storedHash is the hash of the bytes in the cache, computed now.
func storedHash(ctx context.Context, v *Revision, n Node) (string, error) {
	f, err := v.File(ctx, n)
	if err != nil {
		return "", err
	}
	defer f.Close()
	a := n.Entry.Hash.Algorithm()
	sum := a.New()
	buffer := make([]byte, 1<<20)
	for offset := int64(0); offset < f.Size(); {
		k, err := f.ReadContext(ctx, buffer[:min(int64(len(buffer)), f.Size()-offset)], offset)
		if err != nil {
			return "", err
		}
		sum.Write(buffer[:k])
		offset += int64(k)
	}
	h, err := cas.NewHash(a, sum.Sum(nil))
	return h.String(), err
}

// chunksOf are the chunks of a file; one that is whole is its only one.
func chunksOf(n Node) ([]catalog.Chunk, error) {
	if n.Entry.Flags&catalog.Chunked == 0 {
		return []catalog.Chunk{{Size: n.Entry.Size, Hash: n.Entry.Hash}}, nil
	}
	return n.Catalog.Chunks(n.Entry.Path)
}

func chunkList(_ context.Context, _ *Revision, n Node) (string, error) {
	chunks, err := chunksOf(n)
	var b strings.Builder
	b.WriteString("hash,offset,size\n")
	for _, k := range chunks {
		fmt.Fprintf(&b, "%s,%d,%d\n", k.Hash, k.Offset, k.Size)
	}
	return b.String(), err
}

func (v *Revision) status() Status {
	if v.repo.cfg.Status == nil {
		return Status{}
	}
	return v.repo.cfg.Status()
}

// ofNetwork makes a magic attribute of the network's state, absent where that is
// not known.
func ofNetwork(name string, value func(Status) string) magic {
	return magic{name, func(v *Revision, _ Node) bool { return value(v.status()) != "" },
		func(_ context.Context, v *Revision, _ Node) (string, error) { return value(v.status()), nil }}
}

func networkMagics() []magic {
	seconds := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return strconv.Itoa(int(d / time.Second))
	}
	return []magic{
		ofNetwork("user.host", func(s Status) string { return s.Host }),
		ofNetwork("user.host_list", func(s Status) string { return s.Hosts }),
		ofNetwork("user.proxy", func(s Status) string { return s.Proxy }),
		ofNetwork("user.proxy_list", func(s Status) string { return s.Proxies }),
		ofNetwork("user.external_host", func(s Status) string { return s.ExternalHost }),
		ofNetwork("user.timeout", func(s Status) string { return seconds(s.Timeout) }),
		ofNetwork("user.timeout_direct", func(s Status) string { return seconds(s.TimeoutDirect) }),
	}
}
