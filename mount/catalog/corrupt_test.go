package catalog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatrun/flatrun/mount/cas"
)

// readAll asks a catalog everything.
func readAll(c *Catalog) error {
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	dirs := []PathHash{c.Root().Path}
	for seen := 0; len(dirs) > 0 && seen < 1000; seen++ {
		dir := dirs[0]
		dirs = dirs[1:]
		note(c.List(dir, func(e Entry) error {
			if e.IsDir() {
				dirs = append(dirs, e.Path)
			}
			if e.Flags&Chunked != 0 {
				_, err := c.Chunks(e.Path)
				note(err)
			}
			if e.HasXattrs {
				_, err := c.Xattrs(e.Row)
				note(err)
			}
			if e.LinkGroup != 0 {
				_, err := c.GroupFirst(e.Parent, e.LinkGroup)
				note(err)
			}
			return nil
		}))
	}
	for row := range int64(20) {
		if e, found, err := c.Row(row); found {
			_, err := c.Path(e)
			note(err)
		} else {
			note(err)
		}
	}
	_, err := c.Nested()
	note(err)
	_, err = c.Statistics()
	note(err)
	return errors.Join(errs...)
}

// TestCorrupt spoils a catalog in one place each; all of it must be found.
func TestCorrupt(t *testing.T) {
	tests := []struct{ name, sql, want string }{
		{"name with slash", "UPDATE catalog SET name = 'a/b' WHERE name = 'file'", "not a file name"},
		{"name with zero byte", "UPDATE catalog SET name = CAST(x'610062' AS TEXT) WHERE name = 'file'", "not a file name"},
		{"name dot-dot", "UPDATE catalog SET name = '..' WHERE name = 'file'", "not a file name"},
		{"no name", "UPDATE catalog SET name = '' WHERE name = 'file'", "no name"},
		{"name null", "UPDATE catalog SET name = NULL WHERE name = 'file'", "no name"},
		{"long name", "UPDATE catalog SET name = hex(zeroblob(200)) WHERE name = 'file'", "too long"},
		{"short digest", "UPDATE catalog SET hash = x'00' WHERE name = 'file'", "digest has 1 bytes"},
		{"long digest", "UPDATE catalog SET hash = zeroblob(21) WHERE name = 'file'", "digest has 21 bytes"},
		{"no digest", "UPDATE catalog SET hash = NULL WHERE name = 'file'", "no content hash"},
		{"unknown algorithm", "UPDATE catalog SET flags = flags | 0x300 WHERE name = 'file'", "algorithm 4"},
		{"unknown compression", "UPDATE catalog SET flags = flags | 0x1000 WHERE name = 'file'", "compression 2"},
		{"negative size", "UPDATE catalog SET size = -1 WHERE name = 'file'", "negative"},
		{"nanoseconds", "UPDATE catalog SET mtimens = 1000000000 WHERE name = 'file'", "out of range"},
		{"negative nanoseconds", "UPDATE catalog SET mtimens = -10000000000 WHERE name = 'file'", "out of range"},
		{"file flagged as directory", "UPDATE catalog SET flags = 1 WHERE name = 'file'", "does not fit"},
		{"directory flagged as file", "UPDATE catalog SET flags = 4 WHERE name = 'dir'", "does not fit"},
		{"no type", "UPDATE catalog SET mode = 420 WHERE name = 'file'", "does not fit"},
		{"link flagged as file", "UPDATE catalog SET flags = 4 WHERE name = 'link'", "does not fit"},
		{"chunked directory", "UPDATE catalog SET flags = 65 WHERE name = 'dir'", "do not fit"},
		{"file as mountpoint", "UPDATE catalog SET flags = 6 WHERE name = 'file'", "do not fit"},
		{"link to zero byte", "UPDATE catalog SET symlink = CAST(x'610062' AS TEXT) WHERE name = 'link'", "not a path"},
		{"long link", "UPDATE catalog SET symlink = hex(zeroblob(3000)) WHERE name = 'link'", "not a path"},
		{"attributes cut", "UPDATE catalog SET xattr = x'01020161' WHERE name = 'dir'", "ends early"},
		{"attributes of another version", "UPDATE catalog SET xattr = x'0201' WHERE name = 'dir'", "version 2"},
		{"chunk missing", "DELETE FROM chunks WHERE offset = 10", "cover 10 of its 30 bytes"},
		{"no chunks", "DELETE FROM chunks", "0 chunks cover"},
		{"chunks overlap", "UPDATE chunks SET offset = 9 WHERE offset = 10", "chunk 1 is [9"},
		{"chunks leave a gap", "UPDATE chunks SET offset = 11 WHERE offset = 10", "chunk 1 is [11"},
		{"negative chunk", "UPDATE chunks SET size = -10 WHERE offset = 0", "chunk 0 is"},
		{"empty chunk", "INSERT INTO chunks SELECT md5path_1, md5path_2, 0, 0, hash FROM chunks WHERE offset = 0", "chunk 0 is"},
		{"huge chunk", "UPDATE chunks SET size = 9223372036854775807 WHERE offset = 10", "chunk 1 is"},
		{"chunk without hash", "UPDATE chunks SET hash = NULL WHERE offset = 10", "chunk 1 has no hash"},
		{"chunk with short digest", "UPDATE chunks SET hash = x'0000'", "digest has 2 bytes"},
		{"nested catalog without hash", "UPDATE nested_catalogs SET sha1 = ''", "nested catalog"},
		{"nested catalog with wrong hash", "UPDATE nested_catalogs SET sha1 = 'zz'", "nested catalog"},
		{"nested catalog of negative size", "UPDATE nested_catalogs SET size = -5", "nested catalog"},
		{"nested catalog at odd path", "UPDATE nested_catalogs SET path = '/a/../b'", "nested catalog"},
		{"nested catalog at nothing", "UPDATE nested_catalogs SET path = NULL", "nested catalog"},
		{"counter missing", "DELETE FROM statistics WHERE counter = 'self_special'", "counters are missing"},
		{"parent missing", "UPDATE catalog SET md5path_1 = md5path_1 + 1 WHERE name = 'dir'", "no parent"},
		{"loop", "UPDATE catalog SET parent_1 = md5path_1, parent_2 = md5path_2 WHERE name = 'dir'", ""},
		{"root missing", "DELETE FROM catalog WHERE name = ''", "no directory at its root"},
		{"root is a file", "UPDATE catalog SET mode = 33188, flags = 4, hash = zeroblob(20) WHERE name = ''", "no directory at its root"},
		{"prefix wrong", "INSERT INTO properties VALUES ('root_prefix', '/elsewhere')", "no directory at its root"},
		{"prefix not clean", "INSERT INTO properties VALUES ('root_prefix', 'x/../y')", "root prefix"},
		{"revision not a number", "UPDATE properties SET value = 'x' WHERE key = 'revision'", "property revision"},
		{"previous revision not a hash", "UPDATE properties SET value = 'x' WHERE key = 'previous_revision'", "property previous_revision"},
		{"table missing", "DROP TABLE catalog", "table catalog has no column"},
		{"column missing", "ALTER TABLE catalog DROP COLUMN symlink", "table catalog has no column symlink"},
		{"column of chunks missing", "ALTER TABLE chunks DROP COLUMN hash", "table chunks has no column hash"},
		{"view in place of table", "ALTER TABLE catalog RENAME TO other; CREATE VIEW catalog AS SELECT * FROM other", "table catalog has no column"},
	}
	entries, chunks := sample()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, path := build(t, "", entries, chunks, Nested{Path: "/.cvmfs", Hash: hashOf("x"), Size: 1})
			alter(t, path, test.sql)
			err := tryAll(t, path)
			if test.want == "" {
				return // only that it ends
			}
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one that says %q", err, test.want)
			}
		})
	}
}

// tryAll opens a catalog and asks it everything.
func tryAll(t testing.TB, path string) error {
	t.Helper()
	pool := &Pool{Max: 4}
	defer pool.Close()
	c, err := pool.Open(path, "", func() (*os.File, error) { return os.Open(path) })
	if err != nil {
		return err
	}
	return readAll(c)
}

// TestCorruptFile spoils the file below SQLite.
func TestCorruptFile(t *testing.T) {
	entries, chunks := sample()
	_, good := build(t, "", entries, chunks)
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		edit func(b []byte) []byte
	}{
		{"empty", func(b []byte) []byte { return nil }},
		{"text", func(b []byte) []byte { return []byte("<html>404 not found</html>") }},
		{"header only", func(b []byte) []byte { return b[:100] }},
		{"half", func(b []byte) []byte { return b[:len(b)/2/4096*4096] }},
		{"cut within a page", func(b []byte) []byte { return b[:len(b)-1000] }},
		{"magic", func(b []byte) []byte { b[0] = 's'; return b }},
		{"page size", func(b []byte) []byte { b[16], b[17] = 0, 3; return b }},
		{"first page", func(b []byte) []byte { clear(b[100:4096]); return b }},
		{"second page", func(b []byte) []byte { clear(b[4096:8192]); return b }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "catalog")
			if err := os.WriteFile(path, test.edit(append([]byte(nil), content...)), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := tryAll(t, path); !errors.Is(err, ErrCorrupt) {
				t.Errorf("error %v, want ErrCorrupt", err)
			}
		})
	}
}

func TestWriterRefuses(t *testing.T) {
	big := entry("/big", 0o100644, File|Chunked)
	big.Size = 10
	whole := regular("/a", 10)
	long := regular("/a", 1)
	long.Xattrs = map[string][]byte{"user.x": make([]byte, 256)}
	mixed := []Chunk{{0, 5, hashOf("a")}, {5, 5, cas.Sum(cas.RMD160, nil)}}
	tests := []struct {
		name   string
		entry  Entry
		chunks []Chunk
		want   string
	}{
		{"chunks with a gap", big, []Chunk{{0, 5, hashOf("a")}, {6, 4, hashOf("b")}}, "chunk 1"},
		{"no chunks", big, nil, "0 chunks"},
		{"chunks of a whole file", whole, []Chunk{{0, 10, hashOf("a")}}, "not flagged"},
		{"mixed algorithms", big, mixed, "rmd160"},
		{"no content", entry("/a", 0o100644, File), nil, "no content hash"},
		{"wrong flags", entry("/a", 0o40755, File), nil, "does not fit"},
		{"name", entry("/a/..", 0o40755, Directory), nil, "not a file name"},
		{"attributes", long, nil, "256 bytes"},
		{"twice", entry("", 0o40755, Directory), nil, "UNIQUE"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "catalog")
			w, err := Create(path, "")
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Add(entry("", 0o40755, Directory), nil); err != nil {
				t.Fatal(err)
			}
			err = w.Add(test.entry, test.chunks)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one that says %q", err, test.want)
			}
			if ferr := w.Finish(Properties{}, Statistics{}); !errors.Is(ferr, err) {
				t.Errorf("finished nevertheless, or for another reason not: %v", ferr)
			}
			if _, err := os.Stat(path); err == nil {
				t.Error("the unfinished file is still there")
			}
		})
	}
	if _, err := Create(filepath.Join(t.TempDir(), "c"), "no/slash"); err == nil {
		t.Error("a prefix without a slash is taken")
	}
}

func FuzzCatalogFile(f *testing.F) {
	entries, chunks := sample()
	_, path := build(f, "", entries, chunks, Nested{Path: "/.cvmfs", Hash: hashOf("x"), Size: 1})
	content, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	// The input is a patch: where, and what to write there. Random whole files
	// would not get past the magic.
	f.Add(uint32(100), []byte{0x0d}, uint16(0))
	f.Add(uint32(28), []byte{0, 0, 0, 1}, uint16(4))
	f.Add(uint32(4096), []byte{0x05, 0xff}, uint16(100))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, at uint32, patch []byte, cut uint16) {
		b := append([]byte(nil), content...)
		copy(b[int(at)%len(b):], patch)
		b = b[:len(b)-int(cut)%len(b)]
		path := filepath.Join(dir, "c")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		tryAll(t, path)
	})
}
