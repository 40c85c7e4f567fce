package fusefs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/repotest"
)

// pin pins the head and answers the directory that shows it.
func (m *mounted) pin(t *testing.T) string {
	t.Helper()
	head := m.repo.Head()
	if err := m.Pin(head); err != nil {
		t.Fatal(err)
	}
	return m.path(PinName(head.Root().CatalogHash))
}

// contents are the paths and bytes of all regular files below dir.
func contentsOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, dir)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func attribute(t *testing.T, path, name string) string {
	t.Helper()
	var value [64]byte
	n, err := unix.Getxattr(path, name, value[:])
	if err != nil {
		t.Fatalf("%s of %s: %v", name, path, err)
	}
	return string(value[:n])
}

// TestPin moves the mount on while a revision is pinned of which the kernel knows a part only: the pinned one shows what it
// always was, and what did not change is one file in both, with one copy of its pages.
func TestPin(t *testing.T) {
	old, now := revisions()
	r := repotest.Build(t, repotest.Spec{Tree: old})
	m := mountConfig(t, r.Config(t), nil)
	want := contentsOf(t, m.dir)
	first := m.pin(t)
	if _, err := os.ReadFile(first + "/dir/same"); err != nil {
		t.Fatal(err)
	}
	os.Lstat(first + "/dir/born") // a name that is not there is remembered as such
	open, err := os.Open(first + "/dir/bytes")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	r.Publish(t, repotest.Rev{Tree: now})
	m.follow(t)
	second := m.pin(t)
	head := contentsOf(t, m.dir)
	for dir, want := range map[string]map[string]string{first: want, second: head} {
		got := contentsOf(t, dir)
		for path, text := range want {
			if got[path] != text {
				t.Errorf("%s of %s reads %q, want %q", path, dir, got[path], text)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d files in %s, want %d", len(got), dir, len(want))
		}
	}
	if head["/dir/bytes"] != "new bytes" || head["/nest/sub/more"] != "y" {
		t.Errorf("the head shows %q", head)
	}
	var b [16]byte
	if n, err := open.ReadAt(b[:], 0); string(b[:n]) != "old bytes" {
		t.Errorf("the open file reads %q, %v", b[:n], err)
	}
	if a, b := attribute(t, first, "user.revision"), attribute(t, m.dir, "user.revision"); a != "1" || b != "2" {
		t.Errorf("the pinned revision is %s, the head %s", a, b)
	}
	for _, name := range []string{"same", "dir/same", "dir/a", "dir/chunked", "dir/attrs", "quiet/deep/file"} {
		if a, b, c := inode(t, first+"/"+name), inode(t, second+"/"+name), inode(t, m.path(name)); a != c || b != c {
			t.Errorf("%s has the inodes %d, %d and %d", name, a, b, c)
		}
	}
	if entries, err := os.ReadDir(m.dir); err != nil || slices.ContainsFunc(entries, func(e os.DirEntry) bool { return isPinName(e.Name()) }) {
		t.Errorf("listed are %v, %v", entries, err)
	}
	if f := m.Failures(); len(f) > 0 {
		t.Errorf("requests failed: %+v", f)
	}
}

// TestPinSharesPages reads in one revision what was read in another: the kernel asks for directories, never for bytes.
func TestPinSharesPages(t *testing.T) {
	tree := manyFiles()
	for i := range tree {
		tree[i].Mtime = 5 // else that of the revision
	}
	r := repotest.Build(t, repotest.Spec{Tree: tree})
	m := mountConfig(t, r.Config(t), nil)
	first := m.pin(t)
	files := contentsOf(t, first)
	r.Publish(t, repotest.Rev{Tree: append(tree, repotest.File{Path: "/dir1/sub/new", Content: "new"})})
	m.follow(t)
	second := m.pin(t)
	// The kernel may drop pages when it is short of memory, so one of several readings must ask for none but those that are new.
	for attempt := 1; ; attempt++ {
		before := m.Counters()["READ"]
		if n := len(contentsOf(t, second)); n != len(files)+1 {
			t.Fatalf("%d files of %d", n, len(files)+1)
		}
		reads := m.Counters()["READ"] - before
		if reads <= 1 {
			return
		}
		if attempt == 5 {
			t.Fatalf("%d files that did not change are read again", reads)
		}
		contentsOf(t, first)
	}
}

// TestUnpin makes sure that nothing stays of a revision that nobody uses, and that it can be pinned again.
func TestUnpin(t *testing.T) {
	r := repotest.Build(t, repotest.Spec{Tree: manyFiles()})
	m := mountConfig(t, r.Config(t), nil)
	head := m.repo.Head()
	if _, err := os.Lstat(m.path(PinName(head.Root().CatalogHash))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before it is pinned: %v", err)
	}
	for range 3 {
		dir := m.pin(t)
		walk(t, dir)
		v := m.pins.get(filepath.Base(dir))
		if n := len(m.dirs.sorted(v)); n < 20 || len(m.Pinned()) != 1 {
			t.Fatalf("%d directories, %d revisions are known", n, len(m.Pinned()))
		}
		m.Unpin(head.Root().CatalogHash)
		for deadline := after(patience); len(m.dirs.sorted(v)) > 0; {
			if deadline() {
				t.Fatalf("%d directories are still known", len(m.dirs.sorted(v)))
			}
		}
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) || len(m.Pinned()) != 0 {
			t.Errorf("afterwards: %v, %d revisions", err, len(m.Pinned()))
		}
	}
	m.Unpin(head.Root().CatalogHash)
}

// TestPinKeepsMounts does what a container does: its root is a directory of a pinned revision with mounts on it.
func TestPinKeepsMounts(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		runInside(t)
		return
	}
	tree := func(text string) []repotest.File {
		return []repotest.File{{Path: "/image/proc", Kind: repotest.Dir}, {Path: "/image/etc/conf", Content: text}, {Path: "/image/" + text, Content: text}}
	}
	r := repotest.Build(t, repotest.Spec{Tree: tree("one")})
	m := &mounted{dir: t.TempDir()}
	m.FS = serveInside(t, r.Config(t), m.dir)
	root := t.TempDir()
	if err := unix.Mount(m.pin(t)+"/image", root, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(root, 0) })
	if err := unix.Mount("tmpfs", root+"/proc", "tmpfs", 0, ""); err != nil {
		t.Skip("no tmpfs in a user namespace:", err)
	}
	t.Cleanup(func() { unix.Unmount(root+"/proc", 0) })
	for _, text := range []string{"two", "three", "four"} {
		r.Publish(t, repotest.Rev{Tree: tree(text)})
		m.follow(t)
		head := m.pin(t)
		if got, err := os.ReadFile(head + "/image/etc/conf"); err != nil || string(got) != text {
			t.Errorf("the head reads %q, %v", got, err)
		}
		m.Unpin(m.repo.Head().Root().CatalogHash)
		for name, want := range map[string]string{"/etc/conf": "one", "/one": "one"} {
			if got, err := os.ReadFile(root + name); err != nil || string(got) != want {
				t.Errorf("%s is %q, %v, want %q", name, got, err, want)
			}
		}
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil || !strings.Contains(string(mounts), " "+root+"/proc ") {
			t.Errorf("the mount is gone: %v", err)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || !strings.Contains(string(mounts), " /"+PinPrefix) {
		t.Errorf("the mount table does not tell the revision: %v\n%s", err, mounts)
	}
}
