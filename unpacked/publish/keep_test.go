package publish

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/repo"
)

// TestForeignEntriesSurvive: what only other tools write (external files, direct
// I/O, hidden files, nanoseconds, bind mountpoints, catalogs marked by hand) is
// still there when its catalog has been rewritten.
func TestForeignEntriesSurvive(t *testing.T) {
	r := newTestRepo(t)
	tagged := r.put("/in/tag", "of the first revision")
	tx := r.begin()
	dir := tempDir(t)
	w, err := catalog.Create(filepath.Join(dir, "root"), "")
	if err != nil {
		t.Fatal(err)
	}
	content, err := tx.Ingest(t.Context(), strings.NewReader("direct"))
	if err != nil {
		t.Fatal(err)
	}
	const directory, regular = unix.S_IFDIR | 0o755, unix.S_IFREG | 0o644
	external := entryAt("/external", regular, catalog.File|catalog.External, 1)
	external.Hash, external.Size, external.Algorithm, external.Compression = cas.Sum(cas.SHA1, nil), 7, cas.SHA1, cas.None
	direct := entryAt("/direct", regular, catalog.File|catalog.DirectIO, 1)
	direct.Hash, direct.Size, direct.Algorithm, direct.MtimeNsec = content.Hash, content.Size, content.Algorithm, 123456789
	hidden := entryAt("/hidden", regular, catalog.File|catalog.Hidden, 1)
	hidden.Hash, hidden.Size, hidden.Algorithm = content.Hash, content.Size, content.Algorithm
	link := entryAt("/link", unix.S_IFLNK|0o777, catalog.File|catalog.Symlink, 1)
	link.Symlink, link.Size = "$(HOME:-/tmp)", 13
	for _, e := range []catalog.Entry{
		entryAt("", directory, catalog.Directory, 4), external, direct, hidden, link,
		entryAt("/view", directory, catalog.Directory|catalog.BindMount, 3), entryAt("/d", directory, catalog.Directory, 2),
	} {
		if err := w.Add(e, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.AddNested(catalog.Nested{Path: "/view", Hash: tagged.Root, Size: tagged.RootSize, Bind: true}); err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(catalog.Properties{Revision: 3, TTL: 240, Authz: "x509%group"}, catalog.Statistics{Self: w.Counters()}); err != nil {
		t.Fatal(err)
	}
	h := head{manifest: *tx.Base().Manifest()}
	if h.manifest.Root, err = tx.store.putFile(t.Context(), filepath.Join(dir, "root"), cas.CatalogSuffix); err != nil {
		t.Fatal(err)
	}
	h.manifest.RootSize, h.manifest.Revision = -1, 3 // as of a head that lacks the size
	if m, err := tx.head().write(t.Context(), h); err != nil || m.RootSize <= 0 {
		t.Fatalf("head of unknown size: %+v, %v", m, err)
	}
	if err := tx.Abort(); err != nil {
		t.Fatal(err)
	}

	before := r.entries()
	r.put("/d/new", "n")
	after := r.entries()
	for path, want := range before {
		got := after[path]
		want.Row, got.Row = 0, 0
		if path == "" || path == "/d" {
			continue
		}
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("%s: got  %+v\nwant %+v", path, got, want)
		}
	}
	p, err := r.open("").Head().Root().Catalog.Properties()
	if err != nil || p.Authz != "x509%group" {
		t.Errorf("root properties: %+v, %v", p, err)
	}
	if n, err := r.open("").Head().Lookup(t.Context(), "/view/in/tag"); err != nil || n.Entry.Size != int64(len("of the first revision")) {
		t.Errorf("through the bind mountpoint: %+v, %v", n.Entry, err)
	}
	tx = r.begin()
	defer tx.Abort()
	if err := tx.Symlink("/view/x", "y"); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Commit(t.Context(), CommitOptions{}); err == nil || !strings.Contains(err.Error(), "/view") {
		t.Errorf("an edit of another revision's view: %v", err)
	}
}

// entries are the rows of the root catalog by path, hidden ones too.
func (r *testRepo) entries() map[string]catalog.Entry {
	r.t.Helper()
	c := r.open("").Head().Root().Catalog
	all := map[string]catalog.Entry{"": c.Root()}
	if err := c.List(catalog.HashPath(""), func(e catalog.Entry) error { all["/"+e.Name] = e; return nil }); err != nil {
		r.t.Fatal(err)
	}
	return all
}

func TestReplaceRoot(t *testing.T) {
	r := newTestRepo(t)
	r.put("/old/f", "x")
	tree := map[string]file{"": dirOf(3), "/n": dirOf(2), "/n/.cvmfscatalog": text(""), "/n/f": text("f")}
	r.publish(func(tx *Tx) error { return tx.Replace("", tx.items(t, tree)) })
	equalTrees(t, r.read(""), tree)
	r.check()
	r.publish(func(tx *Tx) error { return tx.Replace("", func(func(Item, error) bool) {}) })
	if got := r.read(""); len(got) != 1 {
		t.Errorf("an empty stream leaves %d entries", len(got))
	}
	r.check()
}

// TestMoveByItems renames a subtree with nested catalogs and hard links: its
// items go elsewhere, no content is read.
func TestMoveByItems(t *testing.T) {
	r := newTestRepo(t)
	tree := map[string]file{"/a": dirOf(3), "/a/n": dirOf(2), "/a/n/.cvmfscatalog": text(""), "/a/n/f": text("f"), "/a/l": link("n/f")}
	for _, name := range []string{"/a/h1", "/a/h2"} {
		f := text("linked")
		f.links = 2
		tree[name] = f
	}
	r.publish(func(tx *Tx) error { return tx.Replace("/a", tx.items(t, tree)) })
	tx := r.begin()
	defer tx.Abort()
	err := tx.Replace("/b/c", func(yield func(Item, error) bool) {
		for it, err := range tx.Items("/a") {
			it.Path = "/b/c" + strings.TrimPrefix(it.Path, "/a")
			if !yield(it, err) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Remove("/a"); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Commit(t.Context(), CommitOptions{}); err != nil {
		t.Fatal(err)
	}
	if tx.Stats.Bytes.Load() != 0 {
		t.Errorf("%d bytes were read", tx.Stats.Bytes.Load())
	}
	got := r.read("")
	want := map[string]file{"": got[""], "/b": got["/b"]}
	for p, f := range tree {
		want["/b/c"+strings.TrimPrefix(p, "/a")] = f
	}
	equalTrees(t, got, want)
	r.check()
}

// TestHardLinksFallApart: a group that loses members, or whose members lie in
// several directories, has the right link counts.
func TestHardLinksFallApart(t *testing.T) {
	r := newTestRepo(t)
	r.publish(func(tx *Tx) error {
		c, err := tx.Ingest(t.Context(), strings.NewReader("same"))
		if err != nil {
			return err
		}
		var items []Item
		for _, p := range []string{"/d", "/d/a", "/d/b", "/d/c", "/d/sub", "/d/sub/e"} {
			it := *newDirectory(p, testTime)
			if !strings.HasSuffix(p, "d") && !strings.HasSuffix(p, "sub") {
				it.Entry.Mode, it.Entry.LinkGroup = unix.S_IFREG|0o644, 77
				c.Apply(&it)
			}
			items = append(items, it)
		}
		return tx.Replace("/d", func(yield func(Item, error) bool) {
			for _, it := range items {
				if !yield(it, nil) {
					return
				}
			}
		})
	})
	links := func() string {
		t.Helper()
		got := r.read("")
		var all []string
		for _, p := range slices.Sorted(maps.Keys(got)) {
			if got[p].mode&unix.S_IFMT == unix.S_IFREG {
				all = append(all, fmt.Sprint(p, "=", got[p].links))
			}
		}
		return strings.Join(all, " ")
	}
	if got, want := links(), "/d/a=3 /d/b=3 /d/c=3 /d/sub/e=1"; got != want {
		t.Errorf("links %s, want %s", got, want)
	}
	r.publish(func(tx *Tx) error { return tx.Remove("/d/b") })
	if got, want := links(), "/d/a=2 /d/c=2 /d/sub/e=1"; got != want {
		t.Errorf("links %s, want %s", got, want)
	}
	r.put("/d/c", "another file")
	if got, want := links(), "/d/a=1 /d/c=1 /d/sub/e=1"; got != want {
		t.Errorf("links %s, want %s", got, want)
	}
	r.check()
}

func TestTagHead(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	base := &repo.Manifest{Root: cas.Sum(cas.SHA1, []byte("base")), Revision: 4}
	next := &repo.Manifest{Root: cas.Sum(cas.SHA1, []byte("next")), Revision: 5, Timestamp: now.Unix()}
	for _, c := range []struct {
		name string
		head *repo.Manifest
		o    CommitOptions
		want string
	}{
		{"generic", next, CommitOptions{}, "generic-2026-01-02T03:04:05Z=5 trunk-previous=4 trunk=5"},
		{"named", next, CommitOptions{Tag: "v1"}, "trunk-previous=4 trunk=5 v1=5"},
		{"none", next, CommitOptions{NoTag: true}, "trunk-previous=4 trunk=5"},
		{"same tree", base, CommitOptions{}, ""},
		{"same tree, named", base, CommitOptions{Tag: "v1"}, "v1=4"},
	} {
		h := &catalog.History{}
		tagHead(h, base, c.head, c.o)
		var got []string
		for _, tag := range h.Tags {
			got = append(got, fmt.Sprint(tag.Name, "=", tag.Revision))
		}
		slices.Sort(got)
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestGCKeeps tries the ways to say what is kept, on five revisions of a day's
// distance.
func TestGCKeeps(t *testing.T) {
	day := 24 * time.Hour
	for _, c := range []struct {
		name string
		o    GCOptions
		want string // revisions that can still be read
	}{
		{"default", GCOptions{KeepTags: -1}, "2 3 4 5"}, // 2 is three days old on the day of 5
		{"a day", GCOptions{KeepFor: day, KeepTags: -1}, "4 5"},
		{"none by age", GCOptions{KeepFor: -1, KeepTags: -1}, "4 5"}, // 4 is trunk-previous
		{"three", GCOptions{KeepFor: -1, KeepTags: -1, Keep: 3}, "2 3 4 5"},
		{"all tags", GCOptions{KeepFor: -1, KeepTags: 100 * day}, "2 3 4 5"}, // 1 was never tagged but by trunk
	} {
		r := newTestRepo(t)
		start := time.Now().Add(time.Hour) // later than the first revision
		roots := map[uint64]cas.Hash{1: r.open("").Head().Manifest().Root}
		for rev := range uint64(4) {
			now := start.Add(time.Duration(rev) * day)
			r.o.Now = func() time.Time { return now }
			roots[rev+2] = r.put("/f", fmt.Sprint(rev)).Root
		}
		r.gc(c.o)
		var got []string
		for _, rev := range slices.Sorted(maps.Keys(roots)) {
			if _, ok, err := r.s.Has(t.Context(), cas.Object{Hash: roots[rev], Suffix: cas.CatalogSuffix}.Name()); err != nil {
				t.Fatal(err)
			} else if ok {
				got = append(got, fmt.Sprint(rev))
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: revisions %v are left, want %s", c.name, got, c.want)
		}
		r.check()
	}
}
