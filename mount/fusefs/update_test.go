package fusefs

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/mount/repotest"
)

// republished is an official repository under keys of our own, so that its revisions can be published one after the other.
type republished struct {
	*repotest.Repo
	tags []repo.Tag
}

func republish(t *testing.T, name string) *republished {
	dir, key := repotest.Official(t, name)
	tags, err := repotest.Open(t, repotest.Config(t, name, dir, key)).Tags(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := &republished{repotest.Build(t, repotest.Spec{FQRN: name}), tags}
	objects, err := filepath.Glob(filepath.Join(dir, "data", "??", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		to := filepath.Join(r.Dir, strings.TrimPrefix(object, dir))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(object, to); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// set makes the tagged revision the head.
func (r *republished) set(t *testing.T, tag string) {
	t.Helper()
	i := slices.IndexFunc(r.tags, func(tag2 repo.Tag) bool { return tag2.Name == tag })
	if i < 0 {
		t.Fatalf("no tag %q among %v", tag, r.tags)
	}
	m := &r.Manifest
	m.Root, m.RootSize = r.tags[i].Hash, r.tags[i].Size
	m.Revision++
	m.Timestamp++
	r.SignManifest(t, nil)
}

// follow makes the mount follow the repository's head.
func (m *mounted) follow(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if changed, err := m.repo.Refresh(ctx); err != nil || !changed {
		t.Fatalf("refresh: changed %v, %v", changed, err)
	}
	if err := m.Update(ctx); err != nil {
		t.Fatal(err)
	}
}

func linesOf(t *testing.T, name, rev string) (lines []repotest.Line) {
	for _, l := range repotest.Lines(t, name) {
		if l.Rev == rev {
			lines = append(lines, l)
		}
	}
	return lines
}

// TestLiveUpdate moves a mount that the kernel knows in full from one official revision to the next and back, while a
// process has files open and mapped and stands in a directory.
func TestLiveUpdate(t *testing.T) {
	skipUnderRace(t)
	for _, name := range []string{"small.example.org", "shake128.example.org"} {
		t.Run(name, func(t *testing.T) {
			r := republish(t, name)
			r.set(t, "r1")
			m := mountConfig(t, r.Config(t), nil)
			check := func(rev string) {
				t.Helper()
				for _, problem := range differences(m.dir, linesOf(t, name, rev)) {
					t.Errorf("%s: %s", rev, problem)
				}
			}
			check("r1")
			for _, absent := range []string{"odd/changing/added", "odd/changing/renamed", "odd/changing/file-to-dir/y"} {
				if _, err := os.Lstat(m.path(absent)); err == nil {
					t.Errorf("%s is in r1", absent)
				}
			}
			h := startHolder(t, m.path("odd/changing/modify"), m.path("odd/nested/l1/l2/l3"))
			before := inode(t, m.path("odd/nested/l1/l2/l3"))
			r.set(t, "r2")
			m.follow(t)
			check("r2")
			seen := h.look(t)
			if old := hashOf(linesOf(t, name, "r1"), "/odd/changing/modify"); seen.Mapped != old || seen.Read != old {
				t.Errorf("the open file changed: mapped %s, read %s, want %s", seen.Mapped, seen.Read, old)
			}
			if now := hashOf(linesOf(t, name, "r2"), "/odd/nested/l1/l2/l3/leaf"); seen.Leaf != now {
				t.Errorf("from within its directory the new file is %s, want %s", seen.Leaf, now)
			}
			if now := inode(t, m.path("odd/nested/l1/l2/l3")); now != before {
				t.Errorf("the directory's inode went from %d to %d", before, now)
			}
			for rev := range 4 {
				tag := []string{"r1", "r2"}[rev%2]
				r.set(t, tag)
				m.follow(t)
				check(tag)
			}
		})
	}
}

func hashOf(lines []repotest.Line, path string) string {
	i := slices.IndexFunc(lines, func(l repotest.Line) bool { return l.Path == path })
	return lines[i].SHA256
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// holder is a process that keeps a file open and mapped, and stands in a directory.
type holder struct {
	in  io.WriteCloser
	out *bufio.Reader
}

// held is what a holder sees.
type held struct{ Mapped, Read, Leaf string }

func startHolder(t *testing.T, file, dir string) *holder {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", file, dir)
	cmd.Env = append(os.Environ(), roleVariable+"=holder")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	h := &holder{in, bufio.NewReader(out)}
	if line, err := h.out.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the holder says %q, %v", line, err)
	}
	return h
}

func (h *holder) look(t *testing.T) (seen held) {
	t.Helper()
	fmt.Fprintln(h.in, "look")
	line, err := h.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &seen)
	}
	if err != nil {
		t.Fatalf("the holder says %q, %v", line, err)
	}
	return seen
}

func init() { roles["holder"] = hold }

func hold(args []string) error {
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	mapped, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	if err := os.Chdir(args[1]); err != nil {
		return err
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var s held
		s.Mapped = sum(mapped)
		read := make([]byte, info.Size())
		if _, err := f.ReadAt(read, 0); err != nil {
			return err
		}
		s.Read = sum(read)
		leaf, err := os.ReadFile("leaf")
		if err != nil {
			return err
		}
		s.Leaf = sum(leaf)
		if err := json.NewEncoder(os.Stdout).Encode(s); err != nil {
			return err
		}
	}
	return nil
}

// before and after are two revisions with every kind of change, and every kind of thing that stays.
func revisions() (before, after []repotest.File) {
	stays := []repotest.File{
		{Path: "/same", Content: "same", Mtime: 5},
		{Path: "/dir/same", Content: "stays as it is", Mtime: 5},
		{Path: "/dir/a", Content: "linked", Group: 1, Mtime: 5}, {Path: "/dir/b", Content: "linked", Group: 1, Mtime: 5},
		{Path: "/dir/chunked", Content: strings.Repeat("0123456789", 100), Chunk: 300, Mtime: 5},
		{Path: "/dir/attrs", Content: "x", Xattrs: map[string]string{"user.k": "v"}, Mtime: 5},
		{Path: "/quiet", Kind: repotest.Dir, Nested: true, Mtime: 5}, {Path: "/quiet/deep/file", Content: "quiet", Mtime: 5},
		{Path: "/nest", Kind: repotest.Dir, Nested: true, Mtime: 5},
		{Path: "/hidden", Content: "found by name", Flags: catalog.Hidden, Mtime: 5},
	}
	before = append(slices.Clone(stays), []repotest.File{
		{Path: "/dir/bytes", Content: "old bytes", Mtime: 5},
		{Path: "/dir/chunks", Content: strings.Repeat("abcdefghij", 100), Chunk: 300, Mtime: 5},
		{Path: "/dir/value", Content: "x", Xattrs: map[string]string{"user.k": "old"}, Mtime: 5},
		{Path: "/dir/c", Content: "pair", Group: 2, Mtime: 5}, {Path: "/dir/d", Content: "pair", Group: 2, Mtime: 5},
		{Path: "/gone/below/file", Content: "x", Mtime: 5},
		{Path: "/nest/file", Content: "in r1", Mtime: 5},
		{Path: "/turns", Content: "file", Mtime: 5},
	}...)
	after = append(slices.Clone(stays), []repotest.File{
		{Path: "/dir/bytes", Content: "new bytes", Mtime: 5},
		{Path: "/dir/chunks", Content: strings.Repeat("abcdefghij", 50) + strings.Repeat("ABCDEFGHIJ", 50), Chunk: 300, Mtime: 5},
		{Path: "/dir/value", Content: "x", Xattrs: map[string]string{"user.k": "new"}, Mtime: 5},
		{Path: "/dir/d", Content: "pair", Group: 2, Mtime: 5}, {Path: "/dir/e", Content: "pair", Group: 2, Mtime: 5},
		{Path: "/dir/born", Content: "x", Mtime: 5},
		{Path: "/nest/file", Content: "in r2", Mtime: 5}, {Path: "/nest/sub/more", Content: "y", Mtime: 5},
		{Path: "/turns/into", Content: "a directory", Mtime: 5},
		{Path: "/aa/first", Content: "so that every row moves", Mtime: 5},
	}...)
	return before, after
}

// TestUpdateKeepsIDs makes sure that what did not change keeps its inode and its pages although its catalog was written
// anew, and that hard links stay one file.
func TestUpdateKeepsIDs(t *testing.T) {
	old, now := revisions()
	r := repotest.Build(t, repotest.Spec{Tree: old})
	m := mountConfig(t, r.Config(t), nil)
	same := []string{"same", "dir", "dir/same", "dir/a", "dir/b", "dir/chunked", "dir/attrs", "quiet/deep", "quiet/deep/file", "nest", "hidden"}
	inodes := map[string]uint64{}
	look := func() {
		t.Helper()
		walk(t, m.dir)
		for _, name := range []string{"hidden", "dir/born", "aa", "dir/e"} {
			os.ReadFile(m.path(name))
		}
	}
	look()
	for _, name := range append(same, "dir/bytes", "dir/chunks", "dir/value", "dir/d") {
		inodes[name] = inode(t, m.path(name))
	}
	r.Publish(t, repotest.Rev{Tree: now})
	m.follow(t)
	look()
	for _, name := range same {
		if n := inode(t, m.path(name)); n != inodes[name] {
			t.Errorf("%s: inode %d became %d", name, inodes[name], n)
		}
	}
	for _, name := range []string{"dir/bytes", "dir/chunks", "dir/value", "dir/d"} {
		if inode(t, m.path(name)) == inodes[name] {
			t.Errorf("%s changed but kept its inode", name)
		}
	}
	if inode(t, m.path("dir/d")) != inode(t, m.path("dir/e")) || inode(t, m.path("dir/a")) != inode(t, m.path("dir/b")) {
		t.Error("hard links are not one file any more")
	}
	for name, want := range map[string]string{"dir/bytes": "new bytes", "nest/file": "in r2", "nest/sub/more": "y", "turns/into": "a directory"} {
		if got, err := os.ReadFile(m.path(name)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"gone", "gone/below/file", "dir/c"} {
		if _, err := os.Lstat(m.path(name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
	if f := m.Failures(); len(f) > 0 {
		t.Errorf("requests failed: %+v", f)
	}
}

// TestHiddenAndBound looks at what has a name but is not listed, and at an old revision bound into a new one.
func TestHiddenAndBound(t *testing.T) {
	tree := func(text string, more ...repotest.File) []repotest.File {
		return append(more, repotest.File{Path: "/dir/file", Content: text}, repotest.File{Path: "/dir/same", Content: "same", Mtime: 5},
			repotest.File{Path: "/nest", Kind: repotest.Dir, Nested: true}, repotest.File{Path: "/nest/deep/file", Content: text})
	}
	r := repotest.Build(t, repotest.Spec{Tree: tree("one"), Tag: "first"})
	m := mountConfig(t, r.Config(t), nil)
	walk(t, m.dir)
	r.Publish(t, repotest.Rev{Tree: tree("two", repotest.File{Path: "/.old", Kind: repotest.Dir, Flags: catalog.Hidden},
		repotest.File{Path: "/.old/first", Kind: repotest.Dir, Bind: "first"})})
	m.follow(t)
	for name, want := range map[string]string{"dir/file": "two", "nest/deep/file": "two", ".old/first/dir/file": "one", ".old/first/nest/deep/file": "one",
		".old/first/dir/same": "same"} {
		if got, err := os.ReadFile(m.path(name)); err != nil || string(got) != want {
			t.Errorf("%s reads %q, %v, want %q", name, got, err, want)
		}
	}
	entries, err := os.ReadDir(m.dir)
	if err != nil || slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == ".old" }) {
		t.Errorf("listed are %v, %v", entries, err)
	}
	if n := walk(t, m.path(".old/first")); n != 7 {
		t.Errorf("the old revision has %d entries", n)
	}
	var value [64]byte
	n, err := unix.Getxattr(m.path(".old/first/dir/file"), "user.hash", value[:])
	if want := r.Put(t, []byte("one"), 0, 0).String(); err != nil || string(value[:n]) != want {
		t.Errorf("its hash is %s, %v, want %s", value[:max(n, 0)], err, want)
	}
	if _, err := os.Lstat(m.path(".old/first/.old")); err == nil {
		t.Error("the new revision shows in the old one")
	}
}

// TestUnsettled follows a revision whose nested catalog cannot be had at first: the mount stays whole, and what could not be
// compared is compared the next time.
func TestUnsettled(t *testing.T) {
	tree := func(text string) []repotest.File {
		return []repotest.File{{Path: "/nest", Kind: repotest.Dir, Nested: true}, {Path: "/nest/" + text, Content: text}, {Path: "/nest/same", Content: text},
			{Path: "/" + text, Content: text}}
	}
	r := repotest.Build(t, repotest.Spec{Tree: tree("one")})
	g := newGate(cas.Dir(r.Dir))
	m := mountConfig(t, r.ConfigFrom(t, g), func(c *Config) { c.Timeout = patience })
	t.Cleanup(g.open)
	walk(t, m.dir)
	os.Lstat(m.path("nest/two")) // a name that is not there yet is remembered as such
	r.Publish(t, repotest.Rev{Tree: tree("two")})
	if _, err := m.repo.Refresh(t.Context()); err != nil { // brings the root catalog
		t.Fatal(err)
	}
	g.shut("data/*/*")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for g.waiting() == 0 {
			if ctx.Err() != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	err := m.Update(ctx)
	cancel()
	if err == nil || !strings.Contains(err.Error(), "/nest") {
		t.Errorf("the update ends with %v", err)
	}
	g.open()
	if got, err := os.ReadFile(m.path("two")); err != nil || string(got) != "two" {
		t.Errorf("reads %q, %v", got, err)
	}
	if err := m.Update(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nest/two", "nest/same"} {
		if got, err := os.ReadFile(m.path(name)); err != nil || string(got) != "two" {
			t.Errorf("%s reads %q, %v", name, got, err)
		}
	}
	if _, err := os.Lstat(m.path("nest/one")); err == nil {
		t.Error("the old name is still there")
	}
}
