package publish

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
)

// planOf feeds a tree, written as paths in order where directories end in "/",
// to a planner. "@" before a path makes it a nested catalog that is taken over.
func planOf(t *testing.T, w Weights, paths ...string) (plan, map[string]dirPlan) {
	t.Helper()
	p := newPlanner(w)
	byPath := map[string]dirPlan{}
	var open []string
	var order []string
	leave := func() {
		if err := p.leave(); err != nil {
			t.Fatal(err)
		}
		open = open[:len(open)-1]
	}
	for _, path := range paths {
		nested := strings.HasPrefix(path, "@")
		path = strings.TrimPrefix(path, "@")
		dir := strings.HasSuffix(path, "/")
		path = strings.TrimSuffix(path, "/")
		for len(open) > 0 && !(below(path, open[len(open)-1]) && path != open[len(open)-1]) {
			leave()
		}
		it := Item{Path: path, Entry: catalog.Entry{Mode: unix.S_IFREG}}
		it.Entry.SetPath(path)
		var err error
		switch {
		case nested:
			err = p.nested(&it, catalog.Nested{}, nil)
		case dir:
			open, order = append(open, path), append(order, path)
			err = p.dir(&it, nil)
		default:
			err = p.file(&it)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for len(open) > 0 {
		leave()
	}
	for i, path := range order {
		byPath[path] = p.plan.dirs[i]
	}
	return p.plan, byPath
}

// filesIn lists n files in a directory.
func filesIn(dir string, n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("%s/%03d", dir, i))
	}
	return all
}

func join(parts ...[]string) []string { return slices.Concat(parts...) }

func TestPlan(t *testing.T) {
	w := Weights{Min: 5, Max: 20}
	for _, c := range []struct {
		name  string
		paths []string
		want  map[string]nesting // plain ones left out
	}{
		{"small", join([]string{"/"}, filesIn("", 10)), nil},
		{"flat and large", join([]string{"/"}, filesIn("", 50)), nil}, // nothing can be divided
		{"marker", []string{"/", "/a/", "/a/.cvmfscatalog"}, map[string]nesting{"/a": marked}},
		{"marker at the root", []string{"/", "/.cvmfscatalog"}, nil},
		{"one heavy", join([]string{"/", "/a/"}, filesIn("/a", 15), []string{"/b/"}, filesIn("/b", 6)), map[string]nesting{"/a": auto}},
		{"two heavy", join([]string{"/", "/a/"}, filesIn("/a", 15), []string{"/b/"}, filesIn("/b", 15), filesIn("", 10)),
			map[string]nesting{"/a": auto, "/b": auto}},
		{"light ones stay", join([]string{"/", "/a/"}, filesIn("/a", 3), []string{"/b/"}, filesIn("/b", 3), filesIn("", 30)), nil},
		{"deep", join([]string{"/", "/a/", "/a/b/", "/a/b/c/"}, filesIn("/a/b/c", 30)), map[string]nesting{"/a/b/c": auto}},
		{"marked does not weigh", join([]string{"/", "/a/", "/a/.cvmfscatalog"}, filesIn("/a", 30), []string{"/b/"}, filesIn("/b", 10)),
			map[string]nesting{"/a": marked}},
		{"inside a marked one", join([]string{"/", "/a/", "/a/.cvmfscatalog", "/a/x/"}, filesIn("/a/x", 15), []string{"/a/y/"}, filesIn("/a/y", 15)),
			map[string]nesting{"/a": marked, "/a/x": auto}},
	} {
		_, got := planOf(t, w, c.paths...)
		for path, d := range got {
			if d.nest != c.want[path] {
				t.Errorf("%s: %q is %d, want %d", c.name, path, d.nest, c.want[path])
			}
		}
	}
}

func TestPlanCounts(t *testing.T) {
	p, dirs := planOf(t, Weights{}, "/", "/a/", "/a/f", "@/a/nested", "/a/s/", "/b/", "/c")
	if p.items != 7 || dirs[""].subdirs != 2 || dirs["/a"].subdirs != 2 || dirs["/b"].subdirs != 0 {
		t.Errorf("%d items, %+v", p.items, dirs)
	}
}

func TestPlanLinks(t *testing.T) {
	p := newPlanner(Weights{})
	dir := func(path string) {
		it := newDirectory(path, 0)
		if err := p.dir(it, nil); err != nil {
			t.Fatal(err)
		}
	}
	file := func(path string, group uint32, data string) error {
		it := Item{Path: path, Entry: catalog.Entry{Mode: unix.S_IFREG, LinkGroup: group, Hash: cas.Sum(cas.SHA1, []byte(data))}}
		it.Entry.SetPath(path)
		return p.file(&it)
	}
	dir("")
	for _, err := range []error{file("/a", 1, "x"), file("/b", 2, "y")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	dir("/d") // the same number in another directory is another group
	if err := file("/d/a", 1, "z"); err != nil {
		t.Fatal(err)
	}
	if err := p.leave(); err != nil {
		t.Fatal(err)
	}
	if err := file("/e", 1, "x"); err != nil {
		t.Fatal(err)
	}
	if err := file("/f", 1, "other"); err == nil || !strings.Contains(err.Error(), "/f") {
		t.Errorf("a member that differs: %v", err)
	}
	want := map[groupKey]uint32{{0, 1}: 2, {0, 2}: 1, {1, 1}: 1}
	for k, n := range want {
		if p.plan.groups[k] != n {
			t.Errorf("group %+v has %d members, want %d", k, p.plan.groups[k], n)
		}
	}
}

// TestPlanRandom: no catalog that could be divided is too large.
func TestPlanRandom(t *testing.T) {
	w := Weights{Min: 4, Max: 30}
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		var paths []string
		var grow func(dir string, depth int)
		grow = func(dir string, depth int) {
			paths = append(paths, dir+"/")
			for i := range rnd.IntN(8) {
				if p := fmt.Sprintf("%s/%d", dir, i); depth < 4 && rnd.IntN(2) == 0 {
					grow(p, depth+1)
				} else {
					paths = append(paths, p)
				}
			}
		}
		grow("", 0)
		_, dirs := planOf(t, w, paths...)
		weight := map[string]int{} // entries of the catalog that starts at a path
		heavy := map[string]int{}  // its directories that could be cut off
		for _, p := range paths {
			dir := strings.TrimSuffix(p, "/")
			owner := dir
			if p == dir { // a file
				owner = catalog.Parent(dir)
			}
			for dirs[owner].nest == plain && owner != "" {
				owner = catalog.Parent(owner)
			}
			weight[owner]++
			if p != dir && dir != owner && dirs[dir].nest == plain && subtree(paths, dirs, dir) >= w.Min {
				heavy[owner]++
			}
		}
		for owner, n := range weight {
			if n > w.Max && heavy[owner] > 0 {
				t.Errorf("seed %d: the catalog of %q has %d entries, and %d directories to divide at", seed, owner, n, heavy[owner])
			}
		}
	}
}

// subtree counts the entries of a directory in its own catalog.
func subtree(paths []string, dirs map[string]dirPlan, dir string) int {
	n := 0
	for _, p := range paths {
		q := strings.TrimSuffix(p, "/")
		if !below(q, dir) {
			continue
		}
		inside := true
		for up := q; up != dir && up != ""; up = catalog.Parent(up) {
			if d, ok := dirs[up]; ok && d.nest != plain && up != q {
				inside = false
			}
		}
		if inside {
			n++
		}
	}
	return n
}
