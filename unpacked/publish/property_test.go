package publish

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/catalog"
)

// model is the tree that a repository should hold.
type model struct {
	t    *testing.T
	rnd  *rand.Rand
	tree map[string]file
	now  int64
}

var modelNames = []string{"a", "a.b", "a-c", "b", "dir", "\xff", "z z", ".h"}

// path picks a random one, not the root: as often as not one that is there, or
// lies right below.
func (m *model) path() string {
	p := ""
	if all := slices.Sorted(maps.Keys(m.tree)); len(all) > 0 && m.rnd.IntN(2) == 0 {
		p = all[m.rnd.IntN(len(all))]
		if m.rnd.IntN(2) == 0 && !strings.HasSuffix(p, marker) {
			return p
		}
		p = strings.TrimSuffix(p, "/"+marker)
		return p + "/" + modelNames[m.rnd.IntN(len(modelNames))]
	}
	for range 1 + m.rnd.IntN(4) {
		p += "/" + modelNames[m.rnd.IntN(len(modelNames))]
	}
	return p
}

// free tells whether everything above path is a directory or missing.
func (m *model) free(path string) bool {
	for p := catalog.Parent(path); p != ""; p = catalog.Parent(p) {
		if f, ok := m.tree[p]; ok && f.mode&unix.S_IFMT != unix.S_IFDIR {
			return false
		}
	}
	return true
}

func (m *model) isDir(path string) bool {
	f, ok := m.tree[path]
	return ok && f.mode&unix.S_IFMT == unix.S_IFDIR
}

func (m *model) mkdirs(path string) {
	for p := path; p != ""; p = catalog.Parent(p) {
		if _, ok := m.tree[p]; !ok {
			m.tree[p] = file{mode: unix.S_IFDIR | 0o755, mtime: m.now}
		}
	}
}

func (m *model) remove(path string) {
	maps.DeleteFunc(m.tree, func(p string, _ file) bool { return below(p, path) })
}

// subtree makes a random tree below path: files, links, hard links, markers.
func (m *model) subtree(path string) map[string]file {
	tree := map[string]file{path: dirOf(0)}
	dirs := []string{path}
	for range m.rnd.IntN(40) {
		p := dirs[m.rnd.IntN(len(dirs))] + "/" + modelNames[m.rnd.IntN(len(modelNames))]
		if _, ok := tree[p]; ok {
			continue
		}
		switch m.rnd.IntN(5) {
		case 0, 1:
			tree[p] = file{mode: unix.S_IFDIR | 0o700, mtime: int64(m.rnd.IntN(1e9)), uid: 7}
			dirs = append(dirs, p)
			if m.rnd.IntN(3) == 0 {
				tree[p+"/"+marker] = text("")
			}
		case 2:
			tree[p] = link(strings.Repeat("x", 1+m.rnd.IntN(20)))
		case 3:
			tree[p] = file{mode: unix.S_IFREG | 0o640, data: fmt.Sprint(m.rnd.IntN(20)), mtime: testTime, links: 1, xattrs: "user.a=b;"}
		case 4: // a pair, if both names are free
			q := p + "~"
			f := text(fmt.Sprint("linked ", p))
			f.links = 2
			tree[p], tree[q] = f, f
		}
	}
	return tree
}

// step does one random edit to both.
func (m *model) step(tx *Tx) error {
	path := m.path()
	if !m.free(path) {
		return nil
	}
	switch m.rnd.IntN(6) {
	case 0, 1:
		tree := m.subtree(path)
		m.unlink(path)
		m.remove(path)
		m.mkdirs(catalog.Parent(path))
		maps.Copy(m.tree, tree)
		return tx.Replace(path, tx.items(m.t, tree))
	case 2:
		m.unlink(path)
		m.remove(path)
		return tx.Remove(path)
	case 3:
		if m.isDir(path) {
			return nil
		}
		m.unlink(path)
		m.mkdirs(catalog.Parent(path))
		data := fmt.Sprint("put ", m.rnd.IntN(10))
		m.tree[path] = file{mode: unix.S_IFREG | 0o600, data: data, mtime: m.now, links: 1}
		return tx.PutFile(path, 0o600, strings.NewReader(data))
	case 4:
		if m.isDir(path) {
			return nil
		}
		m.unlink(path)
		m.mkdirs(catalog.Parent(path))
		m.tree[path] = file{mode: unix.S_IFLNK | 0o777, data: "t", mtime: m.now, links: 1}
		return tx.Symlink(path, "t")
	}
	if _, ok := m.tree[path]; ok && !m.isDir(path) {
		return nil
	}
	m.mkdirs(path)
	m.tree[path] = file{mode: unix.S_IFDIR | 0o755, mtime: m.now}
	return tx.Put(*tx.directory(path))
}

// unlink takes a name from the hard-link group that it may be in.
func (m *model) unlink(path string) {
	f, ok := m.tree[path]
	if !ok || f.links != 2 {
		return
	}
	for p, g := range m.tree {
		if p != path && catalog.Parent(p) == catalog.Parent(path) && g == f {
			g.links = 1
			m.tree[p] = g
		}
	}
}

// want is the tree with the link counts of directories.
func (m *model) want(root file) map[string]file {
	want := maps.Clone(m.tree)
	want[""] = root
	for p, f := range want {
		if f.mode&unix.S_IFMT == unix.S_IFDIR {
			f.links = 2
			want[p] = f
		}
	}
	for p := range m.tree {
		if m.isDir(p) {
			up := want[catalog.Parent(p)]
			up.links++
			want[catalog.Parent(p)] = up
		}
	}
	return want
}

// TestRandomEdits does the same random edits to a repository and to a map, over
// several revisions, with catalogs so small that they divide and join all the
// time.
func TestRandomEdits(t *testing.T) {
	seeds := uint64(4)
	if raceEnabled {
		seeds = 1
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			r := newTestRepo(t)
			r.o.Weights = Weights{Min: 3, Max: 10}
			m := &model{t: t, rnd: rand.New(rand.NewPCG(seed, 0)), tree: map[string]file{}}
			for rev := range 4 {
				now := time.Unix(testTime+int64(rev)*100, 0)
				r.o.Now = func() time.Time { return now }
				r.resignAt(now)
				m.now = now.Unix()
				tx := r.begin()
				for range 1 + m.rnd.IntN(8) {
					if err := m.step(tx); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := tx.Commit(context.Background(), CommitOptions{}); err != nil {
					t.Fatalf("revision %d: %v", rev, err)
				}
				got := r.read("")
				equalTrees(t, got, m.want(got[""]))
				r.check()
				r.sameItems(got)
				if t.Failed() {
					t.Fatalf("revision %d", rev)
				}
			}
		})
	}
}

// resignAt makes the whitelist valid at the time of the test.
func (r *testRepo) resignAt(now time.Time) {
	r.t.Helper()
	ours, err := r.keys.fingerprint()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := writeWhitelist(r.t.Context(), r.s, testFQRN, r.keys, now, ours); err != nil {
		r.t.Fatal(err)
	}
}

// sameItems compares Tx.Items with the tree that was read.
func (r *testRepo) sameItems(tree map[string]file) {
	r.t.Helper()
	tx := r.begin()
	defer tx.Abort()
	var got []string
	for it, err := range tx.Items("") {
		if err != nil {
			r.t.Fatal(err)
		}
		got = append(got, it.Path)
		if f := tree[it.Path]; f.mode != it.Entry.Mode || f.uid != it.Entry.UID {
			r.t.Errorf("item %q has mode %o", it.Path, it.Entry.Mode)
		}
	}
	want := slices.SortedFunc(maps.Keys(tree), ComparePaths)
	if !slices.Equal(got, want) {
		r.t.Errorf("items are %q, want %q", got, want)
	}
}
