package instance

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func open(t *testing.T, session, key string) *Shared {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	s, err := OpenShared(ctx, session, key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func sessionDir(t *testing.T) string {
	t.Helper()
	base := filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(base, 0o700); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(base, "session")
}

func mountNamespace(t *testing.T, pid string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat("/proc/"+pid+"/ns/mnt", &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func TestShared(t *testing.T) {
	session := sessionDir(t)
	cmd := exec.Command("cat") // somebody else in the container, which is this mount namespace
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := open(t, session, "key")
	if _, ok, err := s.Find(os.Getpid()); ok || err != nil {
		t.Fatalf("a new file names a container: %t, %v", ok, err)
	}
	if err := s.Store(State{Image: "/image"}, NewMember(cmd.Process.Pid), mountNamespace(t, "self")); err != nil {
		t.Fatal(err)
	}
	s.Close()

	s = open(t, session, "key")
	state, ok, err := s.Find(os.Getpid())
	if err != nil || !ok || state.PID != cmd.Process.Pid || state.Image != "/image" {
		t.Fatalf("found %+v, %t, %v", state, ok, err)
	}
	s.Close()
	in.Close()
	cmd.Wait()

	// The first has ended; who has come since keeps the container.
	s = open(t, session, "key")
	state, ok, err = s.Find(0)
	if err != nil || !ok || state.PID != os.Getpid() {
		t.Fatalf("after the first one's end: %+v, %t, %v", state, ok, err)
	}
	if len(state.Members) != 1 {
		t.Errorf("members are %+v", state.Members)
	}
}

func TestSharedMembersMustFit(t *testing.T) {
	session := sessionDir(t)
	self := NewMember(os.Getpid())
	for name, tt := range map[string]struct {
		member Member
		mounts uint64
		want   bool
	}{
		"this process":            {self, mountNamespace(t, "self"), true},
		"another mount namespace": {self, 1, false},
		"a reused id":             {Member{self.PID, self.Started + 1}, mountNamespace(t, "self"), false},
		"nobody":                  {Member{1 << 30, 5}, mountNamespace(t, "self"), false},
		"a dead one's zero":       {Member{1 << 30, 0}, mountNamespace(t, "self"), false},
	} {
		s := open(t, session, "fit")
		if err := s.Store(State{}, tt.member, tt.mounts); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := s.Find(0); ok != tt.want || err != nil {
			t.Errorf("%s: found %t, %v", name, ok, err)
		}
		s.Close()
	}
}

func TestSharedIsLocked(t *testing.T) {
	session := sessionDir(t)
	first := open(t, session, "lock")
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if s, err := OpenShared(ctx, session, "lock"); err == nil {
		s.Close()
		t.Fatal("two have the lock")
	}
	open(t, session, "another").Close()
	got := make(chan *Shared, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		s, _ := OpenShared(ctx, session, "lock")
		got <- s
	}()
	first.Close()
	if s := <-got; s == nil {
		t.Error("the lock was not passed on")
	} else {
		s.Close()
	}
}

// TestSharedSessionEnds: the session removes the files when all have ended; who
// waits for the lock of a removed file gets that of a new one.
func TestSharedSessionEnds(t *testing.T) {
	session := sessionDir(t)
	first := open(t, session, "end")
	got := make(chan *Shared, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		s, err := OpenShared(ctx, session, "end")
		if err != nil {
			t.Error(err)
		}
		got <- s
	}()
	if err := os.Rename(session, session+".gone"); err != nil { // at once, as the other one is busy there
		t.Fatal(err)
	}
	first.Close()
	s := <-got
	if s == nil {
		return
	}
	defer s.Close()
	if !samePath(s.file, filepath.Join(session, "share", "end.json")) {
		t.Error("the lock is of a file that nobody else will find")
	}
}
