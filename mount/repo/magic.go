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

// magic is one attribute that is computed, as the official client has them. The
// function tells with its boolean whether the attribute means anything for n.
type magic struct {
	name  string
	value func(ctx context.Context, v *Revision, n Node) (string, bool, error)
}

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
	base, page := name, ""
	if i := strings.LastIndexAny(name, "~@"); i > 0 {
		base, page = name[:i], name[i+1:]
	}
	for _, m := range magics() {
		if m.name != base {
			continue
		}
		value, ok, err := m.value(ctx, v, n)
		if err != nil {
			return nil, err
		}
		if ok {
			return cut(value, page)
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
		_, ok, err := m.value(ctx, v, n)
		if ok && err == nil && !slices.Contains(names, m.name) {
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
	return magic{name, func(_ context.Context, v *Revision, _ Node) (string, bool, error) { return value(v), true, nil }}
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
		{"user.pubkeys", pubkeys},
		{"user.repo_counters", repoCounters},
		{"user.repo_metainfo", repoMetainfo},
		{"user.catalog_counters", catalogCounters},
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

func pubkeys(_ context.Context, v *Revision, _ Node) (string, bool, error) {
	var all []byte
	for _, key := range v.repo.cfg.Keys {
		text, err := MarshalKey(key)
		if err != nil {
			return "", false, err
		}
		all = append(all, text...)
	}
	return string(all), true, nil
}

func repoCounters(_ context.Context, v *Revision, _ Node) (string, bool, error) {
	s, err := v.root.Catalog.Statistics()
	return s.Total().String(), true, err
}

func repoMetainfo(ctx context.Context, v *Revision, _ Node) (string, bool, error) {
	if v.manifest.Metainfo.IsZero() {
		return "", false, nil
	}
	text, err := v.repo.small(ctx, cas.Object{Hash: v.manifest.Metainfo, Suffix: cas.MetainfoSuffix, Size: -1})
	return string(text), true, err
}

func catalogCounters(ctx context.Context, v *Revision, n Node) (string, bool, error) {
	n, err := v.Enter(ctx, n)
	if err != nil {
		return "", false, err
	}
	s, err := n.Catalog.Statistics()
	return fmt.Sprintf("catalog_hash: %s\ncatalog_mountpoint: %s\n%s", n.CatalogHash, n.mount, s.Total()), true, err
}

// ofFile makes a magic attribute of regular files.
func ofFile(name string, value func(v *Revision, n Node) (string, error)) magic {
	return magic{name, func(_ context.Context, v *Revision, n Node) (string, bool, error) {
		if !n.Entry.IsRegular() {
			return "", false, nil
		}
		text, err := value(v, n)
		return text, true, err
	}}
}

func contentMagics() []magic {
	return []magic{
		{"user.hash", func(_ context.Context, _ *Revision, n Node) (string, bool, error) {
			return n.Entry.Hash.String(), n.Entry.IsRegular() && !n.Entry.Hash.IsZero(), nil
		}},
		{"user.lhash", storedHash},
		ofFile("user.chunks", func(_ *Revision, n Node) (string, error) {
			if n.Entry.Flags&catalog.Chunked == 0 {
				return "1", nil
			}
			chunks, err := n.Catalog.Chunks(n.Entry.Path)
			return strconv.Itoa(len(chunks)), err
		}),
		ofFile("user.chunk_list", chunkList),
		ofFile("user.compression", func(_ *Revision, n Node) (string, error) { return n.Entry.Compression.String(), nil }),
		ofFile("user.direct_io", func(_ *Revision, n Node) (string, error) { return digit(n.Entry.Flags&catalog.DirectIO != 0), nil }),
		ofFile("user.external_file", func(_ *Revision, n Node) (string, error) {
			return digit(n.Entry.Flags&catalog.External != 0), nil
		}),
		{"user.external_url", func(_ context.Context, v *Revision, n Node) (string, bool, error) {
			return v.status().ExternalHost + n.CatalogPath(), n.Entry.Flags&catalog.External != 0, nil
		}},
		{"user.rawlink", rawlink},
		{"xfsroot.rawlink", rawlink},
	}
}

func digit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func rawlink(_ context.Context, _ *Revision, n Node) (string, bool, error) {
	return n.Entry.Symlink, n.Entry.IsSymlink(), nil
}

// storedHash is the hash of the bytes in the cache, computed now. It is compared
// with user.hash, so it exists only where objects are cached as they are hashed.
func storedHash(ctx context.Context, v *Revision, n Node) (string, bool, error) {
	e := &n.Entry
	if !e.IsRegular() || e.Hash.IsZero() || e.Compression != cas.None || e.Flags&catalog.Chunked != 0 {
		return "", false, nil
	}
	f, err := v.File(ctx, n)
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	sum := e.Hash.Algorithm().New()
	buffer := make([]byte, 1<<20)
	for offset := int64(0); offset < f.Size(); {
		k, err := f.ReadContext(ctx, buffer[:min(int64(len(buffer)), f.Size()-offset)], offset)
		if err != nil {
			return "", false, err
		}
		sum.Write(buffer[:k])
		offset += int64(k)
	}
	h, err := cas.NewHash(e.Hash.Algorithm(), sum.Sum(nil))
	return h.String(), true, err
}

func chunkList(_ *Revision, n Node) (string, error) {
	chunks := []catalog.Chunk{{Size: n.Entry.Size, Hash: n.Entry.Hash}}
	if n.Entry.Flags&catalog.Chunked != 0 {
		var err error
		if chunks, err = n.Catalog.Chunks(n.Entry.Path); err != nil {
			return "", err
		}
	}
	var b strings.Builder
	b.WriteString("hash,offset,size\n")
	for _, k := range chunks {
		fmt.Fprintf(&b, "%s,%d,%d\n", k.Hash, k.Offset, k.Size)
	}
	return b.String(), nil
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
	return magic{name, func(_ context.Context, v *Revision, _ Node) (string, bool, error) {
		text := value(v.status())
		return text, text != "", nil
	}}
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
