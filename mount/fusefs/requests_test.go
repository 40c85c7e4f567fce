package fusefs

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/repotest"
)

// walk looks at every entry below root and reads every file it may.
func walk(t *testing.T, root string) (entries int) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		entries++
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		if d.Type() == fs.ModeSymlink {
			_, err = unix.Readlink(path, make([]byte, 4096))
		}
		if d.Type().IsRegular() && st.Mode&0o400 != 0 {
			_, err = hashFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// manyFiles is a tree of all kinds of entries in several catalogs.
func manyFiles() (tree []repotest.File) {
	for i := range 10 {
		dir := fmt.Sprintf("/dir%d", i)
		tree = append(tree, repotest.File{Path: dir, Kind: repotest.Dir, Nested: i%3 == 0},
			repotest.File{Path: dir + "/link", Kind: repotest.Link, Content: "sub/0"}, repotest.File{Path: dir + "/fifo", Kind: repotest.Fifo},
			repotest.File{Path: dir + "/chunked", Content: strings.Repeat(dir, 1000), Chunk: 1000})
		for j := range 10 {
			tree = append(tree, repotest.File{Path: fmt.Sprint(dir, "/sub/", j), Content: fmt.Sprint(dir, j), Group: uint32(10*i + j/4 + 1)})
		}
	}
	return tree
}

// TestSecondWalk makes sure that the kernel asks nothing twice.
func TestSecondWalk(t *testing.T) {
	m := mountConfig(t, repotest.Build(t, repotest.Spec{Tree: manyFiles()}).Config(t), nil)
	first := walk(t, m.dir)
	after := m.Counters()
	if after["LOOKUP"] > 5 || after["READDIRPLUS"] == 0 || after["READDIR"] > 0 {
		t.Errorf("the first walk looked up single names: %v", after)
	}
	// The kernel may drop what it knows when it is short of memory, so one of several walks must be silent.
	for attempt := 1; ; attempt++ {
		before := m.Counters()
		if n := walk(t, m.dir); n != first {
			t.Fatalf("walk %d saw %d entries, the first %d", attempt, n, first)
		}
		after = m.Counters()
		asked := map[string]uint64{}
		for _, kind := range []string{"LOOKUP", "GETATTR", "OPEN", "OPENDIR", "READDIR", "READDIRPLUS", "READ", "READLINK", "FLUSH", "ACCESS"} {
			if n := after[kind] - before[kind]; n > 0 {
				asked[kind] = n
			}
		}
		if len(asked) == 0 {
			break
		}
		if attempt == 5 {
			t.Fatalf("each walk asks again: %v", asked)
		}
	}
	if after["OPEN"] > 1 || after["OPENDIR"] > 1 || after["FLUSH"] > 1 {
		t.Errorf("requests that were refused once came again: %v", after)
	}
}

// TestForget makes sure that the tables shrink when the kernel forgets, and that an unmount leaves nothing.
func TestForget(t *testing.T) {
	m := mountConfig(t, repotest.Build(t, repotest.Spec{Tree: manyFiles()}).Config(t), nil)
	walk(t, m.dir)
	if n := len(m.dirs.sorted(m.head)); n < 20 {
		t.Fatalf("only %d directories are known after a walk", n)
	}
	known := int64(0)
	for _, n := range m.numbers.all {
		known += n.known.Load()
	}
	if known < 100 {
		t.Fatalf("only %d files are known after a walk", known)
	}
	server := m.server.Load()
	// Dropping a directory's entry lets go of all below it that nobody uses.
	for i := range 10 {
		server.EntryNotify(1, fmt.Sprint("dir", i))
	}
	deadline := after(patience)
	for {
		left := int64(0)
		for _, n := range m.numbers.all {
			left += n.known.Load()
		}
		if dirs := len(m.dirs.sorted(m.head)); dirs < 5 && left < 5 {
			break
		}
		if deadline() {
			t.Fatalf("%d directories and %d files are still known", len(m.dirs.sorted(m.head)), left)
		}
	}
}
