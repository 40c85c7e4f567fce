package fusefs

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/repotest"
)

const insideVariable = "FLATRUN_FUSEFS_INSIDE"

// TestUserNamespace mounts without a helper, as a session does: in a user namespace where the caller has its own uid.
func TestUserNamespace(t *testing.T) {
	const name = "small.example.org"
	if os.Getenv(insideVariable) == "" {
		runInside(t)
		return
	}
	repoDir, key := repotest.Official(t, name)
	cfg := repotest.Config(t, name, repoDir, key)
	cfg.Tag = "r1"
	fs, err := New(Config{Repo: repotest.Open(t, cfg), Store: cfg.Store, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	dev, mnt, err := MountDirect(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.Serve(dev); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := unix.MoveMount(mnt, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		t.Fatal(err)
	}
	unix.Close(mnt)
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
		fs.Wait()
		fs.Close()
	})
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
