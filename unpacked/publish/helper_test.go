package publish

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/repo"
)

const testFQRN = "test.example.org"

var testKeys = sync.OnceValue(func() Keys {
	k, err := NewKeys(testFQRN, time.Now())
	if err != nil {
		panic(err)
	}
	return k
})

// tempDir is t.TempDir in memory where there is such a file system: publishing
// syncs to disk many times, and on a busy disk that is all that a test would do.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "publish-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// large marks a test of large trees, which SQLite as Go code takes minutes for
// under the race detector; it runs without.
func large(t testing.TB) {
	t.Helper()
	if raceEnabled {
		t.Skip("large trees, under the race detector")
	}
}

// testRepo is a repository in a fresh directory, with what is needed to go on
// with it.
type testRepo struct {
	t    testing.TB
	dir  *Directory
	s    Storage // dir, or what the test wraps around it
	keys Keys
	o    Options
}

func newTestRepo(t testing.TB) *testRepo {
	t.Helper()
	dir, err := OpenDirectory(tempDir(t))
	if err != nil {
		t.Fatal(err)
	}
	r := &testRepo{t: t, dir: dir, s: dir, keys: testKeys(), o: Options{FQRN: testFQRN, Scratch: tempDir(t)}}
	if _, err := Init(t.Context(), r.s, InitOptions{Options: r.o, Keys: r.keys}); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *testRepo) begin() *Tx {
	r.t.Helper()
	tx, err := Begin(context.Background(), r.s, r.keys, r.o)
	if err != nil {
		r.t.Fatal(err)
	}
	return tx
}

// publish commits what edit does.
func (r *testRepo) publish(edit func(tx *Tx) error) *repo.Manifest {
	r.t.Helper()
	tx := r.begin()
	defer tx.Abort()
	if err := edit(tx); err != nil {
		r.t.Fatal(err)
	}
	m, err := tx.Commit(context.Background(), CommitOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

// open reads the repository as a client would; tag is "" for the head.
func (r *testRepo) open(tag string) *repo.Repository {
	r.t.Helper()
	rep, err := openRepository(r.t.Context(), r.s, r.keys, r.o, tempDir(r.t), tag)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { rep.Close() })
	return rep
}

// file is one entry of a tree as tests compare it.
type file struct {
	mode   uint32 // with type bits
	data   string // content, or target of a link
	uid    uint32
	mtime  int64
	xattrs string
	links  uint32 // of directories and hard links
}

// read collects the tree of a revision through the reader's own ways: List,
// Lookup and File.
func (r *testRepo) read(tag string) map[string]file {
	r.t.Helper()
	v := r.open(tag).Head()
	tree := map[string]file{}
	var visit func(n repo.Node) error
	visit = func(n repo.Node) error {
		at, err := v.Lookup(r.t.Context(), n.Path)
		if err != nil {
			return err
		}
		f, err := r.readFile(v, at)
		if err != nil {
			return fmt.Errorf("%s: %w", n.Path, err)
		}
		tree[n.Path] = f
		if !at.Entry.IsDir() {
			return nil
		}
		var children []repo.Node
		err = v.List(r.t.Context(), at, func(c repo.Node) error { children = append(children, c); return nil })
		for _, c := range children {
			err = cmp.Or(err, visit(c))
		}
		return err
	}
	if err := visit(v.Root()); err != nil {
		r.t.Fatal(err)
	}
	return tree
}

func (r *testRepo) readFile(v *repo.Revision, n repo.Node) (file, error) {
	e := n.Entry
	f := file{mode: e.Mode, uid: e.UID, mtime: e.Mtime, data: e.Symlink, links: e.LinkCount}
	if e.HasXattrs {
		all, err := n.Catalog.Xattrs(e.Row)
		if err != nil {
			return f, err
		}
		for _, k := range slices.Sorted(maps.Keys(all)) {
			f.xattrs += k + "=" + string(all[k]) + ";"
		}
	}
	if !e.IsRegular() {
		return f, nil
	}
	h, err := v.File(r.t.Context(), n)
	if err != nil {
		return f, err
	}
	defer h.Close()
	b, err := io.ReadAll(io.NewSectionReader(h, 0, e.Size))
	f.data = string(b)
	return f, err
}

// equalTrees compares what was read with what was meant.
func equalTrees(t testing.TB, got, want map[string]file) {
	t.Helper()
	for _, p := range slices.Sorted(maps.Keys(want)) {
		g, ok := got[p]
		if !ok {
			t.Errorf("%s is missing", p)
		} else if g != want[p] {
			if len(g.data) > 100 {
				g.data = g.data[:100]
			}
			t.Errorf("%s: got %+v", p, g)
		}
	}
	for p := range got {
		if _, ok := want[p]; !ok {
			t.Errorf("%s is there, unasked for", p)
		}
	}
}

// check runs Check and reports what it finds.
func (r *testRepo) check() {
	r.t.Helper()
	report, err := Check(context.Background(), r.s, CheckOptions{ReadOptions: ReadOptions{Options: r.o, Public: r.keys.Public}, Data: true, Tags: true})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range report.Problems {
		r.t.Errorf("check: %s", p)
	}
}

const testTime = 1700000000

// items turns a tree into a stream for tx.Replace, ingesting its files. Files
// with the same non-zero links and data in one directory become hard links.
func (tx *Tx) items(t testing.TB, tree map[string]file) iter.Seq2[Item, error] {
	paths := slices.SortedFunc(maps.Keys(tree), ComparePaths)
	return func(yield func(Item, error) bool) {
		groups := map[string]uint32{}
		for _, p := range paths {
			f := tree[p]
			it := Item{Path: p, Entry: catalog.Entry{Mode: f.mode, UID: f.uid, Mtime: f.mtime, MtimeNsec: -1}}
			for kv := range strings.SplitSeq(f.xattrs, ";") {
				if k, v, ok := strings.Cut(kv, "="); ok {
					if it.Entry.Xattrs == nil {
						it.Entry.Xattrs = map[string][]byte{}
					}
					it.Entry.Xattrs[k] = []byte(v)
				}
			}
			switch f.mode & unix.S_IFMT {
			case unix.S_IFLNK:
				it.Entry.Symlink = f.data
			case unix.S_IFREG:
				c, err := tx.Ingest(t.Context(), strings.NewReader(f.data))
				if err != nil {
					yield(Item{}, err)
					return
				}
				c.Apply(&it)
				if f.links > 1 {
					k := catalog.Parent(p) + "\x00" + f.data
					if groups[k] == 0 {
						groups[k] = uint32(len(groups) + 1)
					}
					it.Entry.LinkGroup = groups[k]
				}
			}
			if !yield(it, nil) {
				return
			}
		}
	}
}

// Entries of trees.
func dirOf(links uint32) file { return file{mode: unix.S_IFDIR | 0o755, mtime: testTime, links: links} }
func text(s string) file      { return file{mode: unix.S_IFREG | 0o644, data: s, mtime: testTime, links: 1} }
func link(s string) file      { return file{mode: unix.S_IFLNK | 0o777, data: s, mtime: testTime, links: 1} }
