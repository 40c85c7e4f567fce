package publish

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
)

// problems runs a check that reads everything.
func (r *testRepo) problems() []string {
	r.t.Helper()
	report, err := Check(context.Background(), r.s, CheckOptions{ReadOptions: r.reading(), Data: true, Tags: true})
	if err != nil {
		r.t.Fatal(err)
	}
	return report.Problems
}

func TestCheckFindsLostAndDamagedFiles(t *testing.T) {
	content := strings.Repeat("content of the file ", 100)
	for _, c := range []struct {
		name, want string
		damage     func(r *testRepo) error
	}{
		{"object lost", "is missing", func(r *testRepo) error {
			return r.s.Delete(r.t.Context(), cas.Object{Hash: r.contentHash(content)}.Name())
		}},
		{"object damaged", "corrupt", func(r *testRepo) error { return r.flip(cas.Object{Hash: r.contentHash(content)}.Name()) }},
		{"reflog lost", "reflog: missing", func(r *testRepo) error { return r.s.Delete(r.t.Context(), reflogName) }},
		{"reflog damaged", "reflog", func(r *testRepo) error { return r.flip(reflogName) }},
		{"reflog collected", "reflog: its hash", func(r *testRepo) error { return r.shortenReflog() }},
		{"tag's catalog lost", "tag trunk-previous", func(r *testRepo) error {
			tags, err := Tags(r.t.Context(), r.s, r.reading())
			if err != nil {
				return err
			}
			for _, tag := range tags {
				if tag.Name == trunkPrevious {
					err = r.s.Delete(r.t.Context(), cas.Object{Hash: tag.Hash, Suffix: cas.CatalogSuffix}.Name())
				}
			}
			return err
		}},
	} {
		r := newTestRepo(t)
		r.put("/file", content)
		if err := c.damage(r); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(r.problems(), "\n"); !strings.Contains(got, c.want) {
			t.Errorf("%s: found %q, want %q", c.name, got, c.want)
		}
	}
}

// shortenReflog drops a revision from the stored reflog, as the official garbage
// collection does: the manifest is left alone.
func (r *testRepo) shortenReflog() error {
	scratch := tempDir(r.t)
	log, err := readReflog(r.t.Context(), r.s, scratch)
	if err != nil {
		return err
	}
	log.Refs = log.Refs[1:]
	file := filepath.Join(scratch, "reflog")
	if err := catalog.WriteReflog(file, log); err != nil {
		return err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.dir.root, reflogName), b, 0o644)
}

// TestPublishAfterOfficialCollection: a reflog that is not the manifest's is
// taken over, and is right again with the next manifest.
func TestPublishAfterOfficialCollection(t *testing.T) {
	r := newTestRepo(t)
	r.put("/f", "two")
	if err := r.shortenReflog(); err != nil {
		t.Fatal(err)
	}
	if p := r.problems(); len(p) != 1 || !strings.Contains(p[0], "reflog: its hash") {
		t.Errorf("problems %q", p)
	}
	r.put("/f", "three")
	r.check()
}

// flip changes a byte in the middle of a stored file.
func (r *testRepo) flip(name string) error {
	p := filepath.Join(r.dir.root, name)
	b, err := os.ReadFile(p)
	if err != nil {
		return err
	}
	b[len(b)/2] ^= 0x40
	return os.WriteFile(p, b, 0o644)
}

// publishCatalogs makes catalogs written by hand the head. write fills the root
// catalog and answers its statistics; nested is the catalog for /n.
func (r *testRepo) publishCatalogs(write func(root, nested *catalog.Writer) (rootStats, nestedStats catalog.Statistics)) {
	r.t.Helper()
	tx := r.begin()
	defer tx.Abort()
	dir := tempDir(r.t)
	root, err := catalog.Create(filepath.Join(dir, "root"), "")
	if err != nil {
		r.t.Fatal(err)
	}
	nested, err := catalog.Create(filepath.Join(dir, "nested"), "/n")
	if err != nil {
		r.t.Fatal(err)
	}
	rootStats, nestedStats := write(root, nested)
	h := head{manifest: *tx.Base().Manifest()}
	if err := nested.Finish(catalog.Properties{Revision: 9}, nestedStats); err != nil {
		r.t.Fatal(err)
	}
	hash, err := tx.store.putFile(r.t.Context(), filepath.Join(dir, "nested"), cas.CatalogSuffix)
	if err != nil {
		r.t.Fatal(err)
	}
	st, err := os.Stat(filepath.Join(dir, "nested"))
	if err != nil {
		r.t.Fatal(err)
	}
	if err := root.AddNested(catalog.Nested{Path: "/n", Hash: hash, Size: st.Size()}); err != nil {
		r.t.Fatal(err)
	}
	if err := root.Finish(catalog.Properties{Revision: 9, TTL: 240}, rootStats); err != nil {
		r.t.Fatal(err)
	}
	if st, err = os.Stat(filepath.Join(dir, "root")); err != nil {
		r.t.Fatal(err)
	}
	if h.manifest.Root, err = tx.store.putFile(r.t.Context(), filepath.Join(dir, "root"), cas.CatalogSuffix); err != nil {
		r.t.Fatal(err)
	}
	h.manifest.RootSize, h.manifest.Revision = st.Size(), 9
	if _, err := tx.head().write(r.t.Context(), h); err != nil {
		r.t.Fatal(err)
	}
}

func entryAt(path string, mode uint32, flags catalog.Flags, links uint32) catalog.Entry {
	e := catalog.Entry{Mode: mode, Flags: flags, LinkCount: links, MtimeNsec: -1, Size: 4096}
	e.SetPath(path)
	return e
}

// TestCheckFindsBadCatalogs writes catalogs that break one rule each.
func TestCheckFindsBadCatalogs(t *testing.T) {
	const dir = unix.S_IFDIR | 0o755
	type parts struct {
		root, mount, start, mark, file catalog.Entry
		orphan                         string // path of an entry more in the root catalog
		rootStats, nestedStats         func(*catalog.Statistics)
	}
	for _, c := range []struct {
		name, want string
		edit       func(*parts)
	}{
		{"nothing", "", func(*parts) {}},
		{"statistics", "its statistics are", func(p *parts) { p.rootStats = func(s *catalog.Statistics) { s.Self.Regular++ } }},
		{"subtree statistics", "its statistics are", func(p *parts) { p.rootStats = func(s *catalog.Statistics) { s.Subtree.Dir-- } }},
		{"nested statistics", "catalog of /n: its statistics", func(p *parts) { p.nestedStats = func(s *catalog.Statistics) { s.Self.FileSize++ } }},
		{"link count", "its link count is 7", func(p *parts) { p.root.LinkCount = 7 }},
		{"disagreement", "differ", func(p *parts) { p.start.Mtime = 1 }},
		{"no marker", "has no .cvmfscatalog", func(p *parts) { p.mark.SetPath("/n/other") }},
		{"wrong path hash", "under the hash of another path", func(p *parts) { p.file.Path = catalog.HashPath("/elsewhere") }},
		{"single hard link", "hard-link group", func(p *parts) { p.file.LinkCount, p.file.LinkGroup = 2, 1 }},
		{"link count of a file", "in no hard-link group", func(p *parts) { p.file.LinkCount = 2 }},
		{"orphan", "it has 4 entries, of which directories lead to 3", func(p *parts) { p.orphan = "/gone/x" }},
		{"entry below a mount point", "it has 4 entries, of which directories lead to 3", func(p *parts) { p.orphan = "/n/x" }},
		{"root flags", "its root entry has flags", func(p *parts) { p.start.Flags = catalog.Directory }},
	} {
		r := newTestRepo(t)
		content := Content{Hash: r.contentHash("x"), Size: 1, Algorithm: cas.SHA1}
		r.put("/f", "x")
		p := &parts{
			root: entryAt("", dir, catalog.Directory, 3), mount: entryAt("/n", dir, catalog.Directory|catalog.NestedMount, 2),
			start: entryAt("/n", dir, catalog.Directory|catalog.NestedRoot, 2), mark: entryAt("/n/.cvmfscatalog", unix.S_IFREG|0o644, catalog.File, 1),
			file: entryAt("/f", unix.S_IFREG|0o644, catalog.File, 1), rootStats: func(*catalog.Statistics) {}, nestedStats: func(*catalog.Statistics) {},
		}
		c.edit(p)
		r.publishCatalogs(func(root, nested *catalog.Writer) (catalog.Statistics, catalog.Statistics) {
			for _, e := range []*catalog.Entry{&p.mark, &p.file} {
				e.Hash, e.Size, e.Algorithm = content.Hash, content.Size, content.Algorithm
			}
			for _, err := range []error{root.Add(p.root, nil), root.Add(p.mount, nil), root.Add(p.file, nil), nested.Add(p.start, nil), nested.Add(p.mark, nil)} {
				if err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
			}
			outer := catalog.Statistics{Self: root.Counters()}
			if p.orphan != "" {
				e := p.file
				e.SetPath(p.orphan)
				if err := root.Add(e, nil); err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
			}
			inner := catalog.Statistics{Self: nested.Counters()}
			outer.Self.Nested, outer.Subtree = 1, inner.Self
			p.rootStats(&outer)
			p.nestedStats(&inner)
			return outer, inner
		})
		got := strings.Join(r.problems(), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: found %q, want %q", c.name, got, c.want)
		}
	}
}
