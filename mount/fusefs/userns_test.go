package fusefs

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/mount/repotest"
)

const insideVariable = "FLATRUN_FUSEFS_INSIDE"

// TestUserNamespace mounts without a helper, as a session does: in a user namespace where the caller has its own uid.
func TestUserNamespace(t *testing.T) {
	skipUnderRace(t)
	const name = "small.example.org"
	if os.Getenv(insideVariable) == "" {
		runInside(t)
		return
	}
	repoDir, key := repotest.Official(t, name)
	cfg := repotest.Config(t, name, repoDir, key)
	cfg.Tag = "r1"
	dir := t.TempDir()
	serveInside(t, cfg, dir)
	var want []repotest.Line
	for _, l := range repotest.Lines(t, name) {
		delete(l.Xattrs, fileCapability) // the kernel cannot show it where there is no root
		if l.Rev == "r1" {
			want = append(want, l)
		}
	}
	for _, problem := range differences(dir, want) {
		t.Error(problem)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, dir) && (!strings.Contains(line, " ro,nosuid,nodev") || !strings.Contains(line, "fuse.flatrun "+name)) {
			t.Errorf("mounted as %s", line)
		}
	}
}

// serveInside mounts the repository at dir without a helper.
func serveInside(t *testing.T, cfg repo.Config, dir string) *FS {
	fs, err := New(Config{Repo: repotest.Open(t, cfg), Store: cfg.Store, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	dev, mnt, err := MountDirect(cfg.FQRN)
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.Serve(dev); err != nil {
		t.Fatal(err)
	}
	if err := unix.MoveMount(mnt, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		t.Fatal(err)
	}
	unix.Close(mnt)
	refusePoll(t, dir)
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
		fs.Close()
	})
	return fs
}

// refusePoll makes the kernel take note that the mount knows no POLL, so that the test may open its files with package os, see
// MountDirect. The server of go-fuse invents a file for that; its own WaitMount does the same, but not in this way of mounting.
func refusePoll(t testing.TB, dir string) {
	t.Helper()
	fd, err := unix.Open(dir+"/.go-fuse-epoll-hack", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
}

// runInside runs this test again in new user and mount namespaces, or skips it where there are none to be had.
func runInside(t *testing.T) {
	needFUSE(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN}, // else lost at the exec, as the uid is not 0
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Skip("no user namespaces here:", err)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	} else if strings.Contains(string(out), "--- SKIP") {
		t.Skip(string(out))
	}
}

// TestUpdateKeepsMounts makes sure that what is mounted on a directory stays there while everything around it changes.
func TestUpdateKeepsMounts(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		runInside(t)
		return
	}
	tree := func(text string) []repotest.File {
		return []repotest.File{{Path: "/image/proc", Kind: repotest.Dir}, {Path: "/image/etc/conf", Content: text}, {Path: "/" + text, Content: text}}
	}
	r := repotest.Build(t, repotest.Spec{Tree: tree("one")})
	m := &mounted{dir: t.TempDir()}
	m.FS = serveInside(t, r.Config(t), m.dir)
	over := m.path("image/proc")
	if err := unix.Mount("tmpfs", over, "tmpfs", 0, ""); err != nil {
		t.Skip("no tmpfs in a user namespace:", err)
	}
	t.Cleanup(func() { unix.Unmount(over, 0) })
	if err := os.WriteFile(over+"/mark", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"two", "three", "four"} {
		walk(t, m.dir)
		r.Publish(t, repotest.Rev{Tree: tree(text)})
		m.follow(t)
		if got, err := os.ReadFile(m.path("image/etc/conf")); err != nil || string(got) != text {
			t.Errorf("the file is %q, %v, want %q", got, err, text)
		}
		if _, err := os.Stat(over + "/mark"); err != nil {
			t.Errorf("the mount is gone: %v", err)
		}
	}
}
