package probe

import (
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestChildReportsTheFailedStep(t *testing.T) {
	s := &script{}
	s.call("getpid", unix.SYS_GETPID)
	s.call("close a wrong number", unix.SYS_CLOSE, -1)
	s.call("never reached", unix.SYS_CLOSE, -1)
	err := s.run(0)
	if !errors.Is(err, syscall.EBADF) || !strings.HasPrefix(err.Error(), "close a wrong number: ") {
		t.Errorf("error %v", err)
	}
}

func TestChildUsesResults(t *testing.T) {
	dir := t.TempDir()
	s := &script{}
	s.call("mkdir", unix.SYS_MKDIRAT, atFDCWD, dir+"/d", 0o700)
	fd := s.call("open", unix.SYS_OPENAT, atFDCWD, dir+"/d/f", unix.O_CREAT|unix.O_WRONLY, 0o600)
	s.call("write", unix.SYS_WRITE, fd, []byte("hello"), 5)
	if err := s.run(0); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(dir + "/d/f"); err != nil || string(text) != "hello" {
		t.Errorf("the child wrote %q, %v", text, err)
	}
}

func TestChildThatDies(t *testing.T) {
	s := &script{}
	s.call("exit", unix.SYS_EXIT_GROUP, 3)
	if err := s.run(0); err == nil || !strings.Contains(err.Error(), "died") {
		t.Errorf("error %v", err)
	}
}

func TestHold(t *testing.T) {
	s := &script{}
	s.call("getpid", unix.SYS_GETPID)
	refused := errors.New("refused")
	var seen int
	err := s.runWith(0, func(pid int) error {
		seen = pid
		if err := unix.Kill(pid, 0); err != nil {
			t.Errorf("the child is gone before it was let go: %v", err)
		}
		return refused
	})
	if !errors.Is(err, refused) || seen <= 0 {
		t.Errorf("error %v, pid %d", err, seen)
	}
	if err := unix.Kill(seen, 0); err != unix.ESRCH {
		t.Errorf("the child is left behind: %v", err)
	}
}

func TestCloneRefused(t *testing.T) {
	s := &script{}
	s.call("getpid", unix.SYS_GETPID)
	// These two exclude each other (clone(2)).
	err := s.run(unix.CLONE_NEWNS | unix.CLONE_FS)
	if !errors.Is(err, syscall.EINVAL) || !strings.HasPrefix(err.Error(), "clone: ") {
		t.Errorf("error %v", err)
	}
}

// TestChildrenAtOnce: each child has copies of the others' descriptors.
func TestChildrenAtOnce(t *testing.T) {
	var group sync.WaitGroup
	for i := range 24 {
		group.Go(func() {
			s := &script{}
			s.call("getpid", unix.SYS_GETPID)
			if i%2 == 1 {
				s.call("close", unix.SYS_CLOSE, -1)
			}
			if err := s.run(0); (err != nil) != (i%2 == 1) {
				t.Errorf("child %d: %v", i, err)
			}
		})
	}
	group.Wait()
}

// TestProbesAreReal: what must fail in a user namespace does, with the kernel's
// reason; so the probes that pass have not passed for nothing.
func TestProbesAreReal(t *testing.T) {
	if err := UserNamespace(); err != nil {
		t.Skip("no user namespaces here:", err)
	}
	before, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	s := inUserNamespace()
	s.call("mount ext4", unix.SYS_MOUNT, "/dev/null", target(), "ext4", 0, 0)
	if err := s.run(namespaces); err == nil || !strings.HasPrefix(err.Error(), "mount ext4: ") {
		t.Errorf("ext4 is mounted: %v", err)
	}
	s = inUserNamespace()
	s.call("mount overlayfs", unix.SYS_MOUNT, "overlay", target(), "overlay", 0, "lowerdir=/none:/none")
	if err := s.run(namespaces); err == nil || !strings.HasPrefix(err.Error(), "mount overlayfs: ") {
		t.Errorf("overlayfs of nothing is mounted: %v", err)
	}
	if after, err := os.Readlink("/proc/self/ns/user"); err != nil || after != before {
		t.Errorf("this process is in %s now, before in %s", after, before)
	}
	for name, probe := range map[string]func() error{"mounts": Mounts, "fuse": FUSE, "overlay": Overlay, "pid": PIDNamespace} {
		if err := probe(); err != nil {
			t.Logf("%s: %v", name, err)
		}
		if first, second := probe(), probe(); (first == nil) != (second == nil) {
			t.Errorf("%s: answers differ: %v, %v", name, first, second)
		}
	}
}
