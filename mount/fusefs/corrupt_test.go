package fusefs

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/flatrun/flatrun/mount/repotest"
)

// damage is one way in which a stored object can be wrong.
var damage = map[string]func([]byte) []byte{
	"flipped at the start": func(b []byte) []byte { b[0] ^= 1; return b },
	"flipped in between":   func(b []byte) []byte { b[len(b)/2] ^= 0x40; return b },
	"flipped at the end":   func(b []byte) []byte { b[len(b)-1] ^= 0x80; return b },
	"cut":                  func(b []byte) []byte { return b[:len(b)-1] },
	"cut in half":          func(b []byte) []byte { return b[:len(b)/2] },
	"empty":                func([]byte) []byte { return nil },
	"longer":               func(b []byte) []byte { return append(b, 0) },
	"other content":        func([]byte) []byte { return deflate([]byte("something else")) },
	"an error page":        func([]byte) []byte { return []byte("<html>not found</html>") },
	"missing":              nil,
}

func deflate(b []byte) []byte {
	var out bytes.Buffer
	z := zlib.NewWriter(&out)
	z.Write(b)
	z.Close()
	return out.Bytes()
}

// TestDamage breaks every object of a mounted repository in every way: what is read through the mount is right or an I/O
// error, and right again once the object is.
func TestDamage(t *testing.T) {
	want := map[string]string{
		"file":        strings.Repeat("plain content\n", 300),
		"chunked":     strings.Repeat("0123456789abcdef", 400),
		"nested/file": "below a catalog of its own",
	}
	tree := []repotest.File{{Path: "/nested", Kind: repotest.Dir, Nested: true}}
	for path, content := range want {
		f := repotest.File{Path: "/" + path, Content: content}
		if path == "chunked" {
			f.Chunk = 1000
		}
		tree = append(tree, f)
	}
	r := repotest.Build(t, repotest.Spec{Tree: tree})
	for name, spoil := range damage {
		t.Run(name, func(t *testing.T) {
			m := mountConfig(t, r.Config(t), nil)
			repair := spoilAll(t, r, spoil)
			defer repair()
			for path, content := range want {
				got, err := os.ReadFile(m.path(path))
				if !errors.Is(err, syscall.EIO) {
					t.Errorf("%s: %d of %d bytes, %v; want EIO", path, len(got), len(content), err)
				}
				if !strings.HasPrefix(content, string(got)) {
					t.Errorf("%s: wrong bytes", path)
				}
			}
			if _, err := os.Lstat(m.path("nested/nothing")); errors.Is(err, fs.ErrNotExist) {
				t.Error("a name in a catalog that cannot be had counts as missing")
			}
			if len(m.Failures()) == 0 {
				t.Error("no failure is noted")
			}
			repair()
			for path, content := range want {
				if got, err := os.ReadFile(m.path(path)); err != nil || string(got) != content {
					t.Errorf("%s after the repair: %d bytes, %v", path, len(got), err)
				}
			}
		})
	}
}

// spoilAll damages every object, or removes it where there is no damage, and answers what makes them right again.
func spoilAll(t *testing.T, r *repotest.Repo, damage func([]byte) []byte) (repair func()) {
	t.Helper()
	originals := map[string][]byte{}
	for _, path := range objectFiles(t, r) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		originals[path] = bytes.Clone(b)
		if damage == nil {
			err = os.Remove(path)
		} else {
			err = os.WriteFile(path, damage(b), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		for path, b := range originals {
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// objectFiles are the files of the repository's objects.
func objectFiles(t *testing.T, r *repotest.Repo) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(r.Dir, "data", "??", "*"))
	if err != nil || len(all) == 0 {
		t.Fatalf("no objects: %v", err)
	}
	return all
}

// TestLyingCatalog signs a catalog that contradicts the objects it names: never a byte that the file does not have.
func TestLyingCatalog(t *testing.T) {
	const its = ` WHERE (md5path_1, md5path_2) = (SELECT md5path_1, md5path_2 FROM catalog WHERE name = 'FILE')`
	lies := map[string]struct {
		chunk int
		sql   string
	}{
		"file is shorter than told":  {0, `UPDATE catalog SET size = size + 100` + its},
		"file is longer than told":   {0, `UPDATE catalog SET size = size - 5` + its},
		"size is negative":           {0, `UPDATE catalog SET size = -1` + its},
		"hash is cut":                {0, `UPDATE catalog SET hash = x'0011'` + its},
		"type is another":            {0, `UPDATE catalog SET mode = 16877` + its},
		"chunks leave a gap":         {100, `UPDATE chunks SET offset = offset + 1` + its + ` AND offset > 0`},
		"chunk is shorter than told": {100, `UPDATE chunks SET size = size + 1` + its + ` AND offset = 400; UPDATE catalog SET size = size + 1` + its},
		"chunks are gone":            {100, `DELETE FROM chunks` + its},
	}
	tree := []repotest.File{{Path: "/right", Content: "x"}}
	script := ""
	for name, lie := range lies {
		// A directory each: one bad row spoils the listing it is in.
		tree = append(tree, repotest.File{Path: "/" + name + "/" + name, Content: strings.Repeat("0123456789", 50) + name, Chunk: lie.chunk})
		script += strings.ReplaceAll(lie.sql, "'FILE'", "'"+name+"' AND flags & 4") + ";\n"
	}
	r := repotest.Build(t, repotest.Spec{Tree: tree, Patch: func(c repotest.Catalog) { execute(t, c.File, script) }})
	m := mountConfig(t, r.Config(t), nil)
	for name := range lies {
		if got, err := os.ReadFile(m.path(name + "/" + name)); err == nil {
			t.Errorf("%s: reads %d bytes without an error", name, len(got))
		} else if !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v, want EIO", name, err)
		}
	}
	if got, err := os.ReadFile(m.path("right")); err != nil || string(got) != "x" {
		t.Errorf("their neighbour reads %q, %v", got, err)
	}
}

// execute changes a catalog file.
func execute(t *testing.T, path, sql string) {
	t.Helper()
	db, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := sqlitex.ExecuteScript(db, sql, nil); err != nil {
		t.Fatal(err)
	}
}

// TestCacheFileCut makes sure that an object which lost its end in the cache is never filled up with zeros.
func TestCacheFileCut(t *testing.T) {
	content := strings.Repeat("x", 3<<20)
	r := repotest.Build(t, repotest.Spec{Tree: []repotest.File{{Path: "/file", Content: content}}})
	cfg := r.Config(t)
	m := mountConfig(t, cfg, nil)
	fd, err := unix.Open(m.path("file"), unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	buf := make([]byte, 4096)
	if _, err := unix.Pread(fd, buf, 0); err != nil {
		t.Fatal(err)
	}
	cached, err := filepath.Glob(filepath.Join(cfg.Cache.Dir(), "??", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range cached {
		if st, err := os.Stat(path); err == nil && st.Size() == int64(len(content)) {
			if err := os.Truncate(path, 1<<20); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n, err := unix.Pread(fd, buf, 2<<20); err != syscall.EIO {
		t.Errorf("read %d bytes, %v; want EIO", n, err)
	}
}
