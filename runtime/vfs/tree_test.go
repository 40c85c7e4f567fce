package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/enter"
)

const childVariable = "FLATRUN_TEST_CHILD" // way of entering and image, separated by a colon

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		if err := child(text); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child makes a tree of an image and enters it, in namespaces that the constructor of package enter has made.
func child(text string) error {
	way, image, _ := strings.Cut(text, ":")
	if err := enter.Current().Err; err != nil {
		return err
	}
	if text, ok := strings.CutPrefix(way, "layers"); ok {
		n, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		return enterLayers(n, image)
	}
	tree, err := Build(Root{Image: image}, []Mount{{Kind: Bind, Source: "/proc", Target: "/proc"}, {Kind: Memory, Target: "/new/memory", Mode: 0o751}})
	if err != nil {
		return err
	}
	if way == "cover" {
		if err := unix.Fchdir(tree.fd); err != nil {
			return err
		}
		err = tree.cover()
	} else {
		err = tree.Enter()
	}
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	info, err := os.Stat("/new/memory")
	if err != nil {
		return err
	}
	names, err := os.ReadDir("/")
	if err != nil {
		return err
	}
	fmt.Println(dir, names, info.Mode())
	// A process whose root is not that of its mount namespace may not make user namespaces.
	return unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
}

// needNamespaces skips where a tree cannot be built.
func needNamespaces(t *testing.T) {
	t.Helper()
	if os.Getuid() == 0 {
		t.Skip("trees are built as an ordinary user")
	}
	probe := exec.Command("/bin/true")
	probe.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS}
	if err := probe.Run(); err != nil {
		t.Skip("needs user namespaces: ", err)
	}
}

// TestEnter enters a root by pivot_root, and as on a node whose root is the initramfs.
func TestEnter(t *testing.T) {
	needNamespaces(t)
	image := t.TempDir()
	for _, name := range []string{"proc", "sub/dir"} {
		if err := os.MkdirAll(filepath.Join(image, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, way := range []string{"pivot", "cover"} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), childVariable+"="+way+":"+image, "FLATRUN_ENTER=own;")
		out, err := cmd.CombinedOutput()
		if want := "/ [d new/ d proc/ d sub/] drwxr-x--x\n"; string(out) != want || err != nil {
			t.Errorf("%s: %v, %q, want %q", way, err, out, want)
		}
	}
}

func TestWrap(t *testing.T) {
	cause := errors.New("cause")
	for _, tt := range []struct {
		m    Mount
		want string
	}{
		{Mount{Kind: Bind, Source: "/a", Target: "/b", Origin: "--bind"}, "mount /a at /b (--bind): cause"},
		{Mount{Kind: Bind, Source: "/a", Target: "/a"}, "mount /a: cause"},
		{Mount{Kind: Memory, Source: "tmpfs", Target: "/b"}, "mount /b: cause"},
	} {
		if err := tt.m.wrap(cause); err.Error() != tt.want || !errors.Is(err, cause) {
			t.Errorf("%q, want %q", err, tt.want)
		}
	}
}

func TestAttributes(t *testing.T) {
	m := Mount{ReadOnly: true, NoExec: true}
	if got := m.attributes(); got != unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOEXEC {
		t.Errorf("%#x", got)
	}
	m = Mount{NoSUID: true, NoDev: true}
	if got := m.attributes(); got != unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV {
		t.Errorf("%#x", got)
	}
}

// openDir opens a directory as a root for look-ups.
func openDir(t *testing.T, dir string) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestLook(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(dir+"/f", nil, 0o644), os.Symlink("/to/somewhere", dir+"/l"), os.Mkdir(dir+"/d", 0o755), unix.Mkfifo(dir+"/p", 0o644)); err != nil {
		t.Fatal(err)
	}
	root := openDir(t, dir)
	for name, want := range map[string]Type{"f": Plain, "l": Symlink, "d": Dir, "p": Plain, "none": Missing, "d/none": Missing} {
		got, link, err := look(root, name)
		if got != want || err != nil || (link == "/to/somewhere") != (want == Symlink) {
			t.Errorf("%s: %v, %q, %v", name, got, link, err)
		}
	}
	if _, _, err := look(root, "f/x"); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("below a file: %v", err)
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "secret")
	large := bytes.Repeat([]byte("0123456789abcdef"), 5000)
	if err := errors.Join(os.WriteFile(dir+"/small", []byte("text"), 0o644), os.WriteFile(dir+"/large", large, 0o644), os.WriteFile(outside, []byte("secret"), 0o644),
		os.Symlink("/small", dir+"/absolute"), os.Symlink(outside, dir+"/out"), os.Symlink("../../../../.."+outside, dir+"/up"), os.Mkdir(dir+"/d", 0o755)); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(dir + "/huge")
	if err == nil {
		err = errors.Join(f.Truncate(17<<20), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	root := openDir(t, dir)
	for name, want := range map[string]string{"/small": "text", "large": string(large), "/absolute": "text"} {
		if got, err := ReadFile(root, name); string(got) != want || err != nil {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	for name, want := range map[string]error{"/none": fs.ErrNotExist, "/out": fs.ErrNotExist, "/up": fs.ErrNotExist, "/d": unix.EISDIR} {
		if got, err := ReadFile(root, name); !errors.Is(err, want) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := ReadFile(root, "/huge"); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("huge file: %v", err)
	}
}

func TestEntries(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(dir+"/f", nil, 0o644), os.Symlink("x", dir+"/l"), os.Mkdir(dir+"/d", 0o755)); err != nil {
		t.Fatal(err)
	}
	list, err := entries(openDir(t, dir), ".")
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	if got, want := fmt.Sprint(list), "[d d/ - f L l]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if _, err := entries(openDir(t, dir), "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestMakeDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a/b/c")
	old := unix.Umask(0)
	defer unix.Umask(old)
	for range 2 { // it may exist
		if err := makeDir(dir, 0o1777); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode() != fs.ModeDir|fs.ModeSticky|0o777 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(dir+"/f", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := makeDir(dir+"/f/g", 0o755); err == nil {
		t.Error("a directory below a file")
	}
}

// TestOpenErrors sees which sources may be missing, as far as that takes no mount.
func TestOpenErrors(t *testing.T) {
	for _, tt := range []struct {
		m    Mount
		want string
		log  string
	}{
		{Mount{Kind: Merge, Source: "/none", Target: "/t", Optional: true}, "", ""},
		{Mount{Kind: Merge, Source: "/none", Target: "/t", Weak: true}, "", "not mounted"},
		{Mount{Kind: Merge, Source: "/none", Target: "/t"}, "source /none: no such file or directory", ""},
	} {
		var log strings.Builder
		tree := &Tree{log: slog.New(slog.NewTextHandler(&log, nil))}
		sources, err := tree.open([]Mount{tt.m})
		if len(sources) != 0 || (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, %v", tt.m, sources, err)
		}
		if !strings.Contains(log.String(), tt.log) || (log.Len() > 0) != (tt.log != "") {
			t.Errorf("%+v: log %q", tt.m, log.String())
		}
	}
}
