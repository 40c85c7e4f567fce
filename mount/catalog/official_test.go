package catalog_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/mount/repotest"
)

// object copies an official object into a file of its own.
func object(t *testing.T, s cas.Store, o cas.Object) string {
	t.Helper()
	o.Size = -1
	f, err := s.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	content, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "object")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, path string) *catalog.Catalog {
	t.Helper()
	pool := new(catalog.Pool)
	t.Cleanup(pool.Close)
	c, err := pool.Open(path, "", func() (*os.File, error) { return os.Open(path) })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// dump prints rows with their types, sorted.
func dump(t *testing.T, path, sql string) string {
	t.Helper()
	db, err := sqlite.OpenConn(path, sqlite.OpenReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var rows []string
	err = sqlitex.ExecuteTransient(db, sql, &sqlitex.ExecOptions{ResultFunc: func(s *sqlite.Stmt) error {
		var row strings.Builder
		for i := range s.ColumnCount() {
			fmt.Fprintf(&row, "%s %q, ", strings.TrimPrefix(s.ColumnType(i).String(), "SQLITE_"), s.ColumnText(i))
		}
		rows = append(rows, row.String())
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(rows)
	return strings.Join(rows, "\n")
}

// copyCatalog writes what it reads. It tells the statistics of the copy.
func copyCatalog(t *testing.T, from *catalog.Catalog) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy")
	w, err := catalog.Create(path, from.Prefix())
	if err != nil {
		t.Fatal(err)
	}
	for row := int64(1); ; row++ {
		e, found, err := from.Row(row)
		if err != nil {
			t.Fatal(err)
		}
		if !found {
			if row > 20000 {
				break
			}
			continue
		}
		if e.Xattrs, err = from.Xattrs(row); err != nil {
			t.Fatal(err)
		}
		var chunks []catalog.Chunk
		if e.Flags&catalog.Chunked != 0 {
			if chunks, err = from.Chunks(e.Path); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Add(e, chunks); err != nil {
			t.Fatal(err)
		}
	}
	nested, err := from.Nested()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nested {
		if err := w.AddNested(n); err != nil {
			t.Fatal(err)
		}
	}
	props, _ := from.Properties()
	stats, err := from.Statistics()
	if err != nil {
		t.Fatal(err)
	}
	stats.Self = w.Counters() // counted anew
	if err := w.Finish(props, stats); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWritesWhatTheOfficialServerWrites copies official catalogs entry by entry
// and compares the tables value by value.
func TestWritesWhatTheOfficialServerWrites(t *testing.T) {
	for _, name := range []string{"small.example.org", "shake128.example.org", "hl.example.org"} {
		t.Run(name, func(t *testing.T) {
			dir, key := repotest.Official(t, name)
			cfg := repotest.Config(t, name, dir, key)
			queue := []cas.Hash{repotest.Open(t, cfg).Head().Manifest().Root}
			for len(queue) > 0 {
				original := object(t, cfg.Store, cas.Object{Hash: queue[0], Suffix: cas.CatalogSuffix})
				c := open(t, original)
				copied := copyCatalog(t, c)
				compareTables(t, c.Prefix(), original, copied)
				compareSubtree(t, cfg, c)
				nested, err := c.Nested()
				if err != nil {
					t.Fatal(err)
				}
				queue = queue[1:]
				for _, n := range nested {
					queue = append(queue, n.Hash)
				}
			}
		})
	}
}

func compareTables(t *testing.T, prefix, original, copied string) {
	t.Helper()
	// The order of an attribute blob's entries means nothing; its size does.
	columns := "md5path_1, md5path_2, parent_1, parent_2, hardlinks, hash, size, mode, mtime, mtimens, flags, name, symlink, uid, gid, length(xattr)"
	for what, sql := range map[string]string{
		"entries": "SELECT " + columns + " FROM catalog", "chunks": "SELECT * FROM chunks", "nested": "SELECT * FROM nested_catalogs",
		"bind mountpoints": "SELECT * FROM bind_mountpoints", "statistics": "SELECT * FROM statistics", "properties": "SELECT * FROM properties",
		"columns": "SELECT m.name, p.name, p.type, p.pk FROM sqlite_schema m, pragma_table_info(m.name) p",
		"indices": "SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index'",
	} {
		if got, want := dump(t, copied, sql), dump(t, original, sql); got != want {
			t.Errorf("catalog of %q: %s\n%s\nwant\n%s", prefix, what, got, want)
		}
	}
}

// compareSubtree adds the counters of the children up.
func compareSubtree(t *testing.T, cfg repo.Config, c *catalog.Catalog) {
	t.Helper()
	nested, err := c.Nested()
	if err != nil {
		t.Fatal(err)
	}
	var sum catalog.Statistics
	for _, n := range nested {
		child, err := open(t, object(t, cfg.Store, cas.Object{Hash: n.Hash, Suffix: cas.CatalogSuffix})).Statistics()
		if err != nil {
			t.Fatal(err)
		}
		sum.AddChild(child)
	}
	s, err := c.Statistics()
	if err != nil || s.Subtree != sum.Subtree || s.Self.Nested != sum.Self.Nested {
		t.Errorf("catalog of %q: subtree %+v, %v; its children sum to %+v", c.Prefix(), s.Subtree, err, sum.Subtree)
	}
}

// TestOfficialDatabases copies history and reflog in the same way.
func TestOfficialDatabases(t *testing.T) {
	const name = "small.example.org"
	dir, key := repotest.Official(t, name)
	cfg := repotest.Config(t, name, dir, key)
	m := repotest.Open(t, cfg).Head().Manifest()

	original := object(t, cfg.Store, cas.Object{Hash: m.History, Suffix: cas.HistorySuffix})
	f, err := os.Open(original)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, err := catalog.ReadHistory(f)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "history")
	if err := catalog.WriteHistory(copied, h); err != nil {
		t.Fatal(err)
	}
	compareAll(t, original, copied, "tags", "properties", "branches", "recycle_bin")

	reflog := filepath.Join(dir, ".cvmfsreflog")
	raw, err := os.ReadFile(reflog)
	if err != nil || cas.Sum(cas.SHA1, raw) != m.Reflog {
		t.Errorf("reflog has another hash than the manifest's %s (%v)", m.Reflog, err)
	}
	g, err := os.Open(reflog)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	r, err := catalog.ReadReflog(g)
	if err != nil {
		t.Fatal(err)
	}
	copied = filepath.Join(t.TempDir(), "reflog")
	if err := catalog.WriteReflog(copied, r); err != nil {
		t.Fatal(err)
	}
	compareAll(t, reflog, copied, "refs", "properties")
}

func compareAll(t *testing.T, original, copied string, tables ...string) {
	t.Helper()
	for _, table := range tables {
		for _, sql := range []string{"SELECT * FROM " + table, "SELECT name, type, pk FROM pragma_table_info('" + table + "')"} {
			if got, want := dump(t, copied, sql), dump(t, original, sql); got != want {
				t.Errorf("%s:\n%s\nwant\n%s", sql, got, want)
			}
		}
	}
}
