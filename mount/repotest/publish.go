package repotest

import (
	"bytes"
	"cmp"
	"compress/zlib"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
)

// Rev is one revision to publish: the whole tree, not a change.
type Rev struct {
	Tree  []File
	Tag   string
	Patch func(Catalog)
}

// epoch is the time of revision 0; each revision is 100 seconds younger.
const epoch = 1_700_000_000

// Publish replaces the repository's tree in a new revision.
func (r *Repo) Publish(t testing.TB, rev Rev) {
	t.Helper()
	m := &r.Manifest
	m.Revision++
	m.Timestamp = epoch + 100*int64(m.Revision)
	p := &publication{Repo: r, t: t, patch: rev.Patch, tree: complete(rev.Tree), groups: map[uint32]uint32{}}
	for _, f := range p.tree {
		p.groups[f.Group]++
	}
	root := p.catalog("", m.Root)
	m.Root, m.RootSize = root.Hash, root.Size
	m.Certificate = r.Put(t, r.Certificate, cas.CertificateSuffix, cas.Zlib)
	m.Metainfo = r.Put(t, []byte(`{"administrator": "nobody"}`+"\n"), cas.MetainfoSuffix, cas.Zlib)
	r.tag(t, rev.Tag)
	r.log(t)
	if m.AltPaths {
		for _, o := range []cas.Object{{Hash: m.Root, Suffix: cas.CatalogSuffix}, {Hash: m.Certificate, Suffix: cas.CertificateSuffix}} {
			if err := os.Rename(r.Path(o), filepath.Join(r.Dir, o.AltName())); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.SignManifest(t, nil)
}

// tag writes the history with one tag more.
func (r *Repo) tag(t testing.TB, name string) {
	m := &r.Manifest
	r.history.Previous = m.History
	for _, name := range []string{name, "trunk"} {
		if name != "" {
			r.history.Set(catalog.Tag{Name: name, Hash: m.Root, Size: m.RootSize, Revision: m.Revision, Timestamp: m.Timestamp})
		}
	}
	path := filepath.Join(r.scratch, "history")
	if err := catalog.WriteHistory(path, &r.history); err != nil {
		t.Fatal(err)
	}
	m.History, _ = r.putFile(t, path, cas.HistorySuffix)
}

// log writes the reflog, which is stored under its own name and not compressed.
func (r *Repo) log(t testing.TB) {
	m := &r.Manifest
	for _, ref := range []catalog.Ref{{Hash: m.Root, Type: catalog.RefCatalog}, {Hash: m.Certificate, Type: catalog.RefCertificate},
		{Hash: m.History, Type: catalog.RefHistory}, {Hash: m.Metainfo, Type: catalog.RefMetainfo}} {
		ref.Timestamp = m.Timestamp
		r.reflog.Add(ref)
	}
	path := filepath.Join(r.Dir, ".cvmfsreflog")
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := catalog.WriteReflog(path, &r.reflog); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m.Reflog = cas.Sum(r.spec.Algorithm, raw)
}

// Put stores an object and answers its name.
func (r *Repo) Put(t testing.TB, content []byte, s cas.Suffix, c cas.Compression) cas.Hash {
	t.Helper()
	stored := pack(t, content, c)
	h := cas.Sum(r.spec.Algorithm, stored)
	write(t, r.Path(cas.Object{Hash: h, Suffix: s}), stored)
	return h
}

func pack(t testing.TB, content []byte, c cas.Compression) []byte {
	if c == cas.None {
		return content
	}
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	if _, err := z.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// putFile moves a scratch file into the storage.
func (r *Repo) putFile(t testing.TB, path string, s cas.Suffix) (cas.Hash, int64) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r.Put(t, content, s, cas.Zlib), int64(len(content))
}

// publication is a revision being written.
type publication struct {
	*Repo
	t      testing.TB
	patch  func(Catalog)
	tree   map[string]File
	groups map[uint32]uint32 // members of each hard-link group
	stats  catalog.Statistics
}

// complete adds the directories that the tree implies.
func complete(tree []File) map[string]File {
	all := map[string]File{"": {Kind: Dir}}
	for _, f := range tree {
		f.Path = catalog.Clean(f.Path)
		all[f.Path] = f
	}
	for _, path := range slices.Collect(maps.Keys(all)) {
		for dir := catalog.Parent(path); dir != ""; dir = catalog.Parent(dir) {
			if _, found := all[dir]; !found {
				all[dir] = File{Path: dir, Kind: Dir}
			}
		}
	}
	return all
}

// home is the mountpoint of the catalog that holds path. A transition point is
// held by both; below says which is meant.
func (p *publication) home(path string) string {
	for dir := catalog.Parent(path); dir != ""; dir = catalog.Parent(dir) {
		if p.tree[dir].Nested {
			return dir
		}
	}
	return ""
}

// catalog writes the catalog at prefix, those below it first.
func (p *publication) catalog(prefix string, previous cas.Hash) catalog.Nested {
	p.t.Helper()
	file := filepath.Join(p.scratch, "catalog"+strconv.Itoa(len(prefix))+strings.ReplaceAll(prefix, "/", "_"))
	w, err := catalog.Create(file, prefix)
	if err != nil {
		p.t.Fatal(err)
	}
	var stats catalog.Statistics
	for _, path := range slices.Sorted(maps.Keys(p.tree)) {
		if path == prefix {
			p.add(w, path, catalog.NestedRoot)
		} else if p.home(path) == prefix && path != "" {
			p.add(w, path, catalog.NestedMount)
			if p.tree[path].Nested {
				p.nest(w, path, &stats)
			}
		}
	}
	stats.Self = w.Counters()
	props := catalog.Properties{Revision: p.Manifest.Revision, LastModified: p.Manifest.Timestamp, Previous: previous}
	if prefix == "" {
		props.TTL = p.Manifest.TTL
	}
	if err := w.Finish(props, stats); err != nil {
		p.t.Fatal(err)
	}
	if p.patch != nil {
		p.patch(Catalog{prefix, file})
	}
	p.stats = stats
	h, size := p.putFile(p.t, file, cas.CatalogSuffix)
	return catalog.Nested{Path: prefix, Hash: h, Size: size}
}

// nest writes the child catalog at path and notes it in its parent.
func (p *publication) nest(w *catalog.Writer, path string, stats *catalog.Statistics) {
	child := p.catalog(path, cas.Hash{})
	stats.AddChild(p.stats)
	if err := w.AddNested(child); err != nil {
		p.t.Fatal(err)
	}
}

// add writes one entry; transition is the flag it gets where a catalog begins.
func (p *publication) add(w *catalog.Writer, path string, transition catalog.Flags) {
	f := p.tree[path]
	e := catalog.Entry{Mode: uint32(f.Kind) | f.Perm, UID: f.UID, GID: f.GID, Flags: f.Flags, LinkCount: 1, LinkGroup: f.Group,
		Mtime: cmp.Or(f.Mtime, p.Manifest.Timestamp), MtimeNsec: cmp.Or(f.Nsec, -1), Compression: p.spec.Compression}
	e.SetPath(path)
	if f.Group != 0 {
		e.LinkCount = p.groups[f.Group]
	}
	for name, value := range f.Xattrs {
		if e.Xattrs == nil {
			e.Xattrs = map[string][]byte{}
		}
		e.Xattrs[name] = []byte(value)
	}
	if f.Nested {
		e.Flags |= transition
	}
	chunks := p.fill(w, &e, f)
	if err := w.Add(e, chunks); err != nil {
		p.t.Fatal(err)
	}
}

// fill sets what depends on the kind of file.
func (p *publication) fill(w *catalog.Writer, e *catalog.Entry, f File) (chunks []catalog.Chunk) {
	perm := uint32(0o644)
	switch f.Kind {
	case Dir:
		perm, e.Size, e.LinkCount = 0o755, 4096, 2
		e.Flags |= catalog.Directory
		p.bind(w, e, f)
	case Link:
		perm, e.Symlink, e.Size = 0o777, f.Content, int64(len(f.Content))
		e.Flags |= catalog.File | catalog.Symlink
	case Regular:
		e.Mode |= 0o100000
		e.Flags |= catalog.File
		e.Size = int64(len(f.Content))
		chunks = p.store(e, f)
	default:
		e.Size = f.Rdev
		e.Flags |= catalog.File | catalog.Special
	}
	if f.Perm == 0 {
		e.Mode |= perm
	}
	return chunks
}

func (p *publication) bind(w *catalog.Writer, e *catalog.Entry, f File) {
	if f.Bind == "" {
		return
	}
	tag, found := p.history.Find(f.Bind)
	if !found {
		p.t.Fatalf("%s: no tag %q to bind", f.Path, f.Bind)
	}
	e.Flags |= catalog.BindMount
	if err := w.AddNested(catalog.Nested{Path: f.Path, Hash: tag.Hash, Size: tag.Size, Bind: true}); err != nil {
		p.t.Fatal(err)
	}
}

// store puts a file's content where it belongs.
func (p *publication) store(e *catalog.Entry, f File) (chunks []catalog.Chunk) {
	content := []byte(f.Content)
	if f.External {
		e.Flags |= catalog.External
		e.Compression = cas.None
		write(p.t, filepath.Join(p.ExternalDir, filepath.FromSlash(f.Path)), content)
	}
	put := func(b []byte, s cas.Suffix) cas.Hash {
		if f.External {
			return cas.Sum(p.spec.Algorithm, b)
		}
		return p.Put(p.t, b, s, e.Compression)
	}
	if f.Chunk == 0 {
		e.Hash = put(content, cas.FileSuffix)
		return nil
	}
	e.Flags |= catalog.Chunked
	for offset := 0; offset < len(content); offset += f.Chunk {
		part := content[offset:min(offset+f.Chunk, len(content))]
		chunks = append(chunks, catalog.Chunk{Offset: int64(offset), Size: int64(len(part)), Hash: put(part, cas.PartialSuffix)})
	}
	return chunks
}
