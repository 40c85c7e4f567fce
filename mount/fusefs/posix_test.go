package fusefs

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/repotest"
)

// TestPOSIX is a table of system calls and what they answer on a read-only file system.
func TestPOSIX(t *testing.T) {
	r := repotest.Build(t, repotest.Spec{Tree: []repotest.File{
		{Path: "/file", Content: "0123456789", Xattrs: map[string]string{"user.key": "value", "user.empty": ""}},
		{Path: "/plain", Content: "x"}, {Path: "/dir/file", Content: "x"}, {Path: "/link", Kind: repotest.Link, Content: "file"},
		{Path: "/loop", Kind: repotest.Link, Content: "loop"}, {Path: "/secret", Content: "x", Perm: 0o200}, {Path: "/script", Content: "#!/bin/sh\n", Perm: 0o755},
		{Path: "/closed", Kind: repotest.Dir, Perm: 0o600}, {Path: "/closed/file", Content: "x"}, {Path: "/empty", Content: ""},
		{Path: "/null", Kind: repotest.Char, Rdev: 0x103, Perm: 0o666}, {Path: "/zz-" + strings.Repeat("n", 252), Content: "x"},
	}})
	m := mountConfig(t, r.Config(t), nil)
	open := func(name string, flags int) error {
		fd, err := unix.Open(m.path(name), flags|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o644)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	second := func(_ int, err error) error { return err }
	buf := make([]byte, 64)
	for _, c := range []struct {
		name string
		got  error
		want error
	}{
		{"open", open("file", unix.O_RDONLY), nil},
		{"open to write", open("file", unix.O_WRONLY), syscall.EROFS},
		{"open to write and read", open("file", unix.O_RDWR), syscall.EROFS},
		{"truncate by open", open("file", unix.O_RDWR|unix.O_TRUNC), syscall.EROFS},
		{"create", open("new", unix.O_WRONLY|unix.O_CREAT), syscall.EROFS},
		{"create what is there", open("file", unix.O_RDONLY|unix.O_CREAT|unix.O_EXCL), syscall.EEXIST},
		{"open missing", open("missing", unix.O_RDONLY), syscall.ENOENT},
		{"open below a file", open("file/x", unix.O_RDONLY), syscall.ENOTDIR},
		{"open directory", open("dir", unix.O_RDONLY|unix.O_DIRECTORY), nil},
		{"open file as directory", open("file", unix.O_RDONLY|unix.O_DIRECTORY), syscall.ENOTDIR},
		{"open directory to write", open("dir", unix.O_WRONLY), syscall.EISDIR},
		{"open through link", open("link", unix.O_RDONLY), nil},
		{"open link itself", open("link", unix.O_RDONLY|unix.O_NOFOLLOW), syscall.ELOOP},
		{"open loop", open("loop", unix.O_RDONLY), syscall.ELOOP},
		{"open without permission", open("secret", unix.O_RDONLY), syscall.EACCES},
		{"open in closed directory", open("closed/file", unix.O_RDONLY), syscall.EACCES},
		{"open device", open("null", unix.O_RDONLY), syscall.EACCES}, // nodev
		{"open longest name", open("zz-"+strings.Repeat("n", 252), unix.O_RDONLY), nil},
		{"open longer name", open(strings.Repeat("n", 256), unix.O_RDONLY), syscall.ENAMETOOLONG},
		{"temporary file", open("dir", unix.O_RDWR|unix.O_TMPFILE), syscall.EROFS},
		{"mkdir", unix.Mkdir(m.path("d"), 0o755), syscall.EROFS},
		{"mkdir what is there", unix.Mkdir(m.path("dir"), 0o755), syscall.EEXIST},
		{"rmdir", unix.Rmdir(m.path("dir")), syscall.EROFS},
		{"unlink", unix.Unlink(m.path("file")), syscall.EROFS},
		{"rename", unix.Rename(m.path("file"), m.path("other")), syscall.EROFS},
		{"link", unix.Link(m.path("file"), m.path("other")), syscall.EROFS},
		{"link out", unix.Link(m.path("file"), t.TempDir()+"/x"), syscall.EXDEV},
		{"symlink", unix.Symlink("x", m.path("other")), syscall.EROFS},
		{"mkfifo", unix.Mkfifo(m.path("other"), 0o644), syscall.EROFS},
		{"chmod", unix.Chmod(m.path("file"), 0o600), syscall.EROFS},
		{"chown", unix.Lchown(m.path("file"), -1, -1), syscall.EROFS},
		{"utimes", unix.UtimesNanoAt(unix.AT_FDCWD, m.path("file"), nil, 0), syscall.EROFS},
		{"truncate", unix.Truncate(m.path("file"), 0), syscall.EROFS},
		{"access to read", unix.Access(m.path("file"), unix.R_OK), nil},
		{"access to write", unix.Access(m.path("file"), unix.W_OK), syscall.EROFS},
		{"access to run", unix.Access(m.path("script"), unix.X_OK), nil},
		{"access to run what cannot", unix.Access(m.path("file"), unix.X_OK), syscall.EACCES},
		{"readlink", second(unix.Readlink(m.path("link"), buf)), nil},
		{"readlink of a file", second(unix.Readlink(m.path("file"), buf)), syscall.EINVAL},
		{"getxattr", second(unix.Getxattr(m.path("file"), "user.key", buf)), nil},
		{"getxattr, size", second(unix.Getxattr(m.path("file"), "user.key", nil)), nil},
		{"getxattr, small buffer", second(unix.Getxattr(m.path("file"), "user.key", buf[:2])), syscall.ERANGE},
		{"getxattr, empty", second(unix.Getxattr(m.path("file"), "user.empty", buf)), nil},
		{"getxattr, missing", second(unix.Getxattr(m.path("file"), "user.missing", buf)), syscall.ENODATA},
		{"getxattr, none", second(unix.Getxattr(m.path("plain"), "user.missing", buf)), syscall.ENODATA},
		{"getxattr, capability", second(unix.Getxattr(m.path("script"), "security.capability", buf)), syscall.ENODATA},
		{"getxattr, directory", second(unix.Getxattr(m.path("dir"), "user.missing", buf)), syscall.ENODATA},
		{"getxattr, magic", second(unix.Getxattr(m.path("plain"), "user.hash", buf)), nil},
		{"getxattr, magic of the repository", second(unix.Getxattr(m.dir, "user.fqrn", buf)), nil},
		{"listxattr, small buffer", second(unix.Listxattr(m.path("file"), buf[:2])), syscall.ERANGE},
		{"setxattr", unix.Setxattr(m.path("file"), "user.new", []byte("x"), 0), syscall.EROFS},
		{"removexattr", unix.Removexattr(m.path("file"), "user.key"), syscall.EROFS},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
	if f := m.Failures(); len(f) > 0 {
		t.Errorf("failures are noted for ordinary answers: %+v", f)
	}
}

// TestPositions reads at and around every border of a file.
func TestPositions(t *testing.T) {
	content := make([]byte, 300_000)
	for i := range content {
		content[i] = byte(i * 7 / 3)
	}
	r := repotest.Build(t, repotest.Spec{Tree: []repotest.File{
		{Path: "/whole", Content: string(content)}, {Path: "/chunked", Content: string(content), Chunk: 9_973}, {Path: "/outside", Content: string(content), External: true},
		{Path: "/outside-chunked", Content: string(content), External: true, Chunk: 50_000},
	}})
	m := mountConfig(t, r.Config(t), nil)
	for _, name := range []string{"whole", "chunked", "outside", "outside-chunked"} {
		fd, err := unix.Open(m.path(name), unix.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		unix.Fadvise(fd, 0, 0, unix.FADV_RANDOM)
		for _, off := range []int{299_999, 0, 1, 4095, 4096, 9_972, 9_973, 9_974, 131_071, 131_072, 250_000, 299_000, 300_000, 400_000} {
			for _, size := range []int{1, 2, 4096, 9_973, 70_000} {
				buf := make([]byte, size)
				n, err := unix.Pread(fd, buf, int64(off))
				want := content[min(off, len(content)):min(off+size, len(content))]
				if err != nil || !slices.Equal(buf[:n], want) {
					t.Fatalf("%s: %d bytes at %d: %d, %v", name, size, off, n, err)
				}
			}
		}
		for whence, want := range map[int]int64{unix.SEEK_END: 300_000, unix.SEEK_HOLE: 300_000, unix.SEEK_DATA: 0} {
			if got, err := unix.Seek(fd, 0, whence); err != nil || got != want {
				t.Errorf("%s: seek %d: %d, %v", name, whence, got, err)
			}
		}
	}
}

// TestLargeDirectory reads a directory that takes many requests, as a whole and from positions within.
func TestLargeDirectory(t *testing.T) {
	const count = 3000
	var tree []repotest.File
	for i := range count {
		tree = append(tree, repotest.File{Path: fmt.Sprintf("/dir/%04d-%s", i, strings.Repeat("x", i%100)), Kind: repotest.Link, Content: "to"})
	}
	m := mountConfig(t, repotest.Build(t, repotest.Spec{Tree: tree}).Config(t), nil)
	for range 2 { // the second time from the kernel's cache
		entries, err := os.ReadDir(m.path("dir"))
		if err != nil || len(entries) != count {
			t.Fatalf("%d entries, %v", len(entries), err)
		}
		for i, e := range entries {
			if !strings.HasPrefix(e.Name(), fmt.Sprintf("%04d-", i)) {
				t.Fatalf("entry %d is %s", i, e.Name())
			}
		}
	}
	if n := m.Counters()["LOOKUP"]; n > 5 {
		t.Errorf("%d names were looked up", n)
	}
	// Two readers in step, and one that starts anew in the middle: nothing is kept per reader.
	dents := func(fd int) (names []string) {
		t.Helper()
		buf := make([]byte, 1<<10)
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			t.Fatal(err)
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, nil)
		return names
	}
	var fds [2]int
	var got [2][]string
	for i := range fds {
		fd, err := unix.Open(m.path("dir"), unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		fds[i] = fd
	}
	var middle int64
	for len(got[0]) < count {
		for i, fd := range fds {
			got[i] = append(got[i], dents(fd)...)
		}
		if middle == 0 && len(got[0]) > count/2 {
			middle, _ = unix.Seek(fds[0], 0, unix.SEEK_CUR)
		}
	}
	if !slices.Equal(got[0], got[1]) || len(got[0]) != count {
		t.Errorf("two readers saw %d and %d entries", len(got[0]), len(got[1]))
	}
	if _, err := unix.Seek(fds[0], middle, unix.SEEK_SET); err != nil {
		t.Fatal(err)
	}
	again := dents(fds[0])
	if at := slices.Index(got[0], again[0]); at < count/2 || !slices.Equal(again, got[0][at:at+len(again)]) {
		t.Errorf("from position %d it goes on with %q", middle, again)
	}
}

// TestStatFS shows what df would.
func TestStatFS(t *testing.T) {
	r := repotest.Build(t, repotest.Spec{Tree: []repotest.File{{Path: "/a/b", Content: "x"}, {Path: "/n", Kind: repotest.Dir, Nested: true}, {Path: "/n/c", Content: "x"}}})
	m := mountConfig(t, r.Config(t), func(c *Config) { c.Usage = func() (int64, int64) { return 3 << 20, 10 << 20 } })
	var st unix.Statfs_t
	if err := unix.Statfs(m.dir, &st); err != nil {
		t.Fatal(err)
	}
	if st.Type != unix.FUSE_SUPER_MAGIC || st.Namelen != 255 || st.Blocks*4096 != 10<<20 || st.Bfree*4096 != 7<<20 || st.Files < 5 {
		t.Errorf("got %+v", st)
	}
	if st.Flags&(unix.ST_RDONLY|unix.ST_NOSUID|unix.ST_NODEV) != unix.ST_RDONLY|unix.ST_NOSUID|unix.ST_NODEV {
		t.Errorf("mounted with flags %#x", st.Flags)
	}
}
