package catalog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/flatrun/flatrun/mount/cas"
)

func hashOf(s string) cas.Hash { return cas.Sum(cas.SHA1, []byte(s)) }

func entry(path string, mode uint32, flags Flags) Entry {
	e := Entry{Mode: mode, Flags: flags, LinkCount: 1, MtimeNsec: -1, Mtime: 1_700_000_000, Algorithm: cas.SHA1}
	e.SetPath(path)
	return e
}

func regular(path string, size int64) Entry {
	e := entry(path, 0o100644, File)
	e.Size, e.Hash = size, hashOf(path)
	return e
}

// sample is one entry of each kind.
func sample() (entries []Entry, chunks map[string][]Chunk) {
	root := entry("", 0o40755, Directory)
	dir := entry("/dir", 0o41777, Directory)
	dir.Xattrs = map[string][]byte{"user.a": []byte("1"), "security.capability": {0, 1, 2}}
	file := regular("/dir/file", 17)
	file.MtimeNsec, file.Mtime, file.UID, file.GID = 123456789, -5, 1000, 4294967294
	empty := regular("/dir/empty", 0)
	link := entry("/dir/link", 0o120777, File|Symlink)
	link.Symlink, link.Size = "$(VAR:-x)/y", 11
	device := entry("/dir/null", 0o20666, File|Special)
	device.Size = 0x103
	one, two := regular("/hard1", 3), regular("/hard2", 3)
	one.LinkGroup, one.LinkCount, two.LinkGroup, two.LinkCount = 7, 2, 7, 2
	two.Hash = one.Hash
	chunked := entry("/big", 0o100644, File|Chunked)
	chunked.Size, chunked.Algorithm, chunked.Compression = 30, cas.SHAKE128, cas.None
	external := regular("/ext", 5)
	external.Flags |= External | DirectIO
	external.Hash, external.Algorithm, external.Compression = cas.Sum(cas.RMD160, nil), cas.RMD160, cas.None
	hidden := entry("/.cvmfs", 0o40755, Directory|Hidden|NestedMount)
	odd := regular("/new\nline\xff", 1)
	return []Entry{root, dir, file, empty, link, device, one, two, chunked, external, hidden, odd}, map[string][]Chunk{
		"big": {{0, 10, cas.Sum(cas.SHAKE128, []byte("a"))}, {10, 20, cas.Sum(cas.SHAKE128, []byte("b"))}},
	}
}

// build writes a catalog and opens it.
func build(t testing.TB, prefix string, entries []Entry, chunks map[string][]Chunk, nested ...Nested) (*Catalog, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "catalog")
	w, err := Create(path, prefix)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := w.Add(e, chunks[e.Name]); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range nested {
		if err := w.AddNested(n); err != nil {
			t.Fatal(err)
		}
	}
	p := Properties{Revision: 3, LastModified: 99, Previous: hashOf("before"), TTL: 240}
	if err := w.Finish(p, Statistics{Self: w.Counters(), Subtree: Counters{Dir: 9, FileSize: 1 << 40}}); err != nil {
		t.Fatal(err)
	}
	return open(t, path), path
}

func open(t testing.TB, path string) *Catalog {
	t.Helper()
	pool := &Pool{Max: 4}
	t.Cleanup(pool.Close)
	c, err := pool.Open(path, "", func() (*os.File, error) { return os.Open(path) })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func list(t testing.TB, c *Catalog, dir string) (names []string) {
	t.Helper()
	if err := c.List(HashPath(dir), func(e Entry) error { names = append(names, e.Name); return nil }); err != nil {
		t.Fatal(err)
	}
	return names
}

func TestRoundTrip(t *testing.T) {
	entries, chunks := sample()
	c, _ := build(t, "", entries, chunks)
	for i, want := range entries {
		got, found, err := c.Lookup(want.Path)
		if err != nil || !found {
			t.Fatalf("%q: found %v, %v", want.Name, found, err)
		}
		if got.Row != int64(i+1) {
			t.Errorf("%q has row %d, want %d", want.Name, got.Row, i+1)
		}
		again, _, err := c.Row(got.Row)
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%q by row: %+v, %v", want.Name, again, err)
		}
		attrs, err := c.Xattrs(got.Row)
		if err != nil || !reflect.DeepEqual(attrs, want.Xattrs) {
			t.Errorf("%q has attributes %v (%v), want %v", want.Name, attrs, err, want.Xattrs)
		}
		want.Row, want.HasXattrs, want.Xattrs = got.Row, want.Xattrs != nil, nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q:\n got %+v\nwant %+v", want.Name, got, want)
		}
	}
	if got := list(t, c, "/dir"); !reflect.DeepEqual(got, []string{"file", "empty", "link", "null"}) {
		t.Errorf("/dir lists %q", got)
	}
	if got := list(t, c, ""); len(got) != 7 {
		t.Errorf("the root lists %q", got)
	}
	got, err := c.Chunks(HashPath("/big"))
	if err != nil || !reflect.DeepEqual(got, chunks["big"]) {
		t.Errorf("chunks %v, %v", got, err)
	}
	if row, err := c.GroupFirst(HashPath(""), 7); row != 7 || err != nil {
		t.Errorf("hard-link group begins at row %d, %v", row, err)
	}
	if _, found, err := c.Lookup(HashPath("/none")); found || err != nil {
		t.Errorf("an absent path: found %v, %v", found, err)
	}
}

func TestAbsent(t *testing.T) {
	entries, chunks := sample()
	c, _ := build(t, "", entries, chunks)
	if _, err := c.Chunks(HashPath("/dir/file")); !errors.Is(err, ErrCorrupt) {
		t.Errorf("chunks of a whole file: %v", err)
	}
	if _, err := c.GroupFirst(HashPath(""), 8); !errors.Is(err, ErrCorrupt) {
		t.Errorf("first of an absent group: %v", err)
	}
	if _, found, err := c.Row(1000); found || err != nil {
		t.Errorf("an absent row: found %v, %v", found, err)
	}
	if _, found, err := c.NestedAt("/dir"); found || err != nil {
		t.Errorf("an absent nested catalog: found %v, %v", found, err)
	}
	if names := list(t, c, "/none"); names != nil {
		t.Errorf("an absent directory lists %q", names)
	}
}

func TestNested(t *testing.T) {
	mount := entry("/a/b", 0o40755, Directory|NestedRoot)
	child, bound := entry("/a/b/c", 0o40755, Directory|NestedMount), entry("/a/b/d", 0o40755, Directory|BindMount)
	want := []Nested{{"/a/b/c", hashOf("c"), 4096, false}, {"/a/b/d", cas.Sum(cas.RMD160, nil), 8192, true}}
	c, _ := build(t, "/a/b", []Entry{mount, child, bound}, nil, want...)
	if got, err := c.Nested(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("nested catalogs %+v, %v", got, err)
	}
	for _, n := range want {
		if got, found, err := c.NestedAt(n.Path); err != nil || !found || got != n {
			t.Errorf("%s: %+v, %v, %v", n.Path, got, found, err)
		}
	}
	if c.Prefix() != "/a/b" || c.Root().Path != mount.Path {
		t.Errorf("prefix %q, root %+v", c.Prefix(), c.Root())
	}
	if p, err := c.Path(child); p != "/a/b/c" || err != nil {
		t.Errorf("path of the child: %q, %v", p, err)
	}
	if p, err := c.Path(c.Root()); p != "/a/b" || err != nil {
		t.Errorf("path of the root: %q, %v", p, err)
	}
}

func TestPropertiesAndStatistics(t *testing.T) {
	entries, chunks := sample()
	c, _ := build(t, "", entries, chunks)
	p, err := c.Properties()
	want := Properties{Schema: "2.5", SchemaRevision: 7, Revision: 3, LastModified: 99, Previous: hashOf("before"), TTL: 240}
	if err != nil || p != want {
		t.Errorf("properties %+v, %v; want %+v", p, err, want)
	}
	s, err := c.Statistics()
	self := Counters{Regular: 7, Symlink: 1, Special: 1, Dir: 3, Chunked: 1, Chunks: 2, FileSize: 59, ChunkedSize: 30, Xattr: 1,
		External: 1, ExternalFileSize: 5}
	if err != nil || s.Self != self || s.Subtree != (Counters{Dir: 9, FileSize: 1 << 40}) {
		t.Errorf("statistics %+v, %v; want self %+v", s, err, self)
	}
	if n := s.Total().Entries(); n != 21 {
		t.Errorf("%d entries in all, want 21", n)
	}
}

// TestSameBytes: what is published twice must be stored once.
func TestSameBytes(t *testing.T) {
	entries, chunks := sample()
	var content [2][]byte
	for i := range content {
		_, path := build(t, "", entries, chunks, Nested{Path: "/.cvmfs", Hash: hashOf("x"), Size: 1})
		content[i], _ = os.ReadFile(path)
	}
	if string(content[0]) != string(content[1]) {
		t.Error("the same entries give different files")
	}
}

func TestConcurrentUse(t *testing.T) {
	entries, chunks := sample()
	_, path := build(t, "", entries, chunks)
	pool := &Pool{Max: 2}
	c, err := pool.Open("shared", "", func() (*os.File, error) { return os.Open(path) })
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				if got := list(t, c, "/dir"); len(got) != 4 {
					t.Errorf("/dir lists %q", got)
				}
			}
		})
	}
	all.Wait()
	if n := len(pool.idle); n > 2 {
		t.Errorf("%d idle connections, want 2 at most", n)
	}
	pool.Close()
	if n := len(pool.idle); n != 0 {
		t.Errorf("%d connections after Close", n)
	}
}

func TestClosed(t *testing.T) {
	entries, chunks := sample()
	c, _ := build(t, "", entries, chunks)
	err := c.List(HashPath(""), func(Entry) error { c.pool.Close(); return nil })
	if err != nil {
		t.Errorf("a query that runs while the pool is closed: %v", err)
	}
	if n := len(c.pool.idle); n != 0 {
		t.Errorf("%d connections after Close", n)
	}
}

// TestOldSchemas reads catalogs as earlier revisions of the format have them.
func TestOldSchemas(t *testing.T) {
	entries, chunks := sample()
	drop := func(columns ...string) (sql []string) {
		for _, c := range columns {
			sql = append(sql, "ALTER TABLE catalog DROP COLUMN "+c)
		}
		return sql
	}
	tests := []struct {
		name  string
		sql   []string
		check func(t *testing.T, c *Catalog)
	}{
		{"revision 6: no nanoseconds", drop("mtimens"), func(t *testing.T, c *Catalog) {
			if e, _, err := c.Lookup(HashPath("/dir/file")); err != nil || e.MtimeNsec != -1 || e.UID != 1000 {
				t.Errorf("%+v, %v", e, err)
			}
		}},
		{"revision 3: no bind mountpoints", append(drop("mtimens"), "DROP TABLE bind_mountpoints"), func(t *testing.T, c *Catalog) {
			if n, err := c.Nested(); len(n) != 1 || err != nil {
				t.Errorf("%v, %v", n, err)
			}
		}},
		{"revision 1: no attributes", append(drop("mtimens", "xattr"), "DELETE FROM statistics WHERE counter LIKE '%xattr'",
			"UPDATE properties SET value = '1' WHERE key = 'schema_revision'"), func(t *testing.T, c *Catalog) {
			e, _, err := c.Lookup(HashPath("/dir"))
			if attrs, xerr := c.Xattrs(e.Row); err != nil || xerr != nil || e.HasXattrs || attrs != nil {
				t.Errorf("%+v, %v, %v, %v", e, err, attrs, xerr)
			}
			if s, err := c.Statistics(); err != nil || s.Self.Regular != 7 || s.Self.Xattr != 0 {
				t.Errorf("%+v, %v", s, err)
			}
		}},
		{"revision 0: no sizes of nested catalogs", []string{"ALTER TABLE nested_catalogs DROP COLUMN size"}, func(t *testing.T, c *Catalog) {
			if n, found, err := c.NestedAt("/.cvmfs"); n.Size != -1 || !found || err != nil {
				t.Errorf("%+v, %v, %v", n, found, err)
			}
		}},
		{"2.0: no owners, no chunks, no statistics, inode in place of hardlinks", append(drop("mtimens", "xattr", "uid", "gid", "hardlinks"),
			"ALTER TABLE catalog ADD COLUMN inode INTEGER", "DROP TABLE chunks", "DROP TABLE statistics", "DROP TABLE bind_mountpoints"),
			func(t *testing.T, c *Catalog) {
				e, _, err := c.Lookup(HashPath("/hard1"))
				if err != nil || e.UID != 0 || e.LinkCount != 1 || e.LinkGroup != 0 {
					t.Errorf("%+v, %v", e, err)
				}
				if _, err := c.Chunks(HashPath("/big")); !errors.Is(err, ErrCorrupt) {
					t.Errorf("chunks: %v", err)
				}
				if s, err := c.Statistics(); err != nil || s != (Statistics{}) {
					t.Errorf("%+v, %v", s, err)
				}
			}},
		{"1.0: the schema is not told", []string{"DELETE FROM properties"}, func(t *testing.T, c *Catalog) {
			if p, err := c.Properties(); p != (Properties{Schema: "1.0"}) || err != nil {
				t.Errorf("%+v, %v", p, err)
			}
		}},
		{"special files without their flag", []string{"UPDATE catalog SET flags = 4 WHERE name = 'null'"}, func(t *testing.T, c *Catalog) {
			if e, _, err := c.Lookup(HashPath("/dir/null")); err != nil || e.Rdev() != 0x103 {
				t.Errorf("%+v, %v", e, err)
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, path := build(t, "", entries, chunks, Nested{Path: "/.cvmfs", Hash: hashOf("x"), Size: 1})
			alter(t, path, test.sql...)
			c := open(t, path)
			if got := list(t, c, ""); len(got) != 7 {
				t.Errorf("the root lists %q", got)
			}
			test.check(t, c)
		})
	}
}

// TestOldPrefix: a catalog that does not tell where it is mounted.
func TestOldPrefix(t *testing.T) {
	_, path := build(t, "/a", []Entry{entry("/a", 0o40755, Directory|NestedRoot), regular("/a/b", 1)}, nil)
	alter(t, path, "DELETE FROM properties WHERE key = 'root_prefix'")
	var pool Pool
	defer pool.Close()
	c, err := pool.Open("old", "/a", func() (*os.File, error) { return os.Open(path) })
	if err != nil || c.Prefix() != "/a" {
		t.Fatalf("%v, prefix %q", err, c.Prefix())
	}
}

// alter runs SQL on a catalog's file.
func alter(t testing.TB, path string, sql ...string) {
	t.Helper()
	db, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range sql {
		if err := sqlitex.ExecuteScript(db, s, nil); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	c := large(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, found, err := c.Lookup(HashPath(fmt.Sprintf("/d%02d/f%d", i%100, i%2000))); err != nil || !found {
			b.Fatal(found, err)
		}
	}
}

func BenchmarkList20(b *testing.B) {
	c := large(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n := 0
		if err := c.List(HashPath(fmt.Sprintf("/d%02d", i%100)), func(Entry) error { n++; return nil }); err != nil || n != 20 {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		large(b)
	}
}

// large is a catalog of 100 directories of 20 files.
func large(b *testing.B) *Catalog {
	entries := []Entry{entry("", 0o40755, Directory)}
	for d := range 100 {
		entries = append(entries, entry(fmt.Sprintf("/d%02d", d), 0o40755, Directory))
	}
	for i := range 2000 {
		entries = append(entries, regular(fmt.Sprintf("/d%02d/f%d", i%100, i), int64(i)))
	}
	c, _ := build(b, "", entries, nil)
	return c
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{"": "", "/": "", ".": "", "a": "/a", "/a/": "/a", "//a//b/../c": "/a/c", "..": ""} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
	if got := HashPath(""); got.A != 338333539836370388 || got.B != 9098107892288553193 {
		t.Errorf("the root's hash is %d, %d", got.A, got.B) // as official catalogs have it
	}
	if Parent("/a/b") != "/a" || Parent("/a") != "" || Parent("") != "" {
		t.Error("Parent is wrong")
	}
	if !strings.HasPrefix((&Catalog{name: "x"}).wrap(errors.New("y")).Error(), "catalog x: ") {
		t.Error("errors do not name the catalog")
	}
}

func BenchmarkOpen(b *testing.B) {
	_, path := func() (*Catalog, string) {
		entries, chunks := sample()
		return build(b, "", entries, chunks)
	}()
	b.ReportAllocs()
	for b.Loop() {
		var pool Pool
		if _, err := pool.Open(path, "", func() (*os.File, error) { return os.Open(path) }); err != nil {
			b.Fatal(err)
		}
		pool.Close()
	}
}
