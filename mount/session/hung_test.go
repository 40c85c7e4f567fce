package session_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/session"
)

// Status tells of sessions and mounts that hang, and what to do, beside those that answer.
func TestHungInStatus(t *testing.T) {
	needFusermount(t)
	r, _, repos := serve(t)
	w := newWorld(t, repos, "")
	w.mustFind("debian:12")
	dirs := []string{t.TempDir(), t.TempDir()}
	for _, dir := range dirs {
		mustRun(t, "mount", r.FQRN, dir)
		t.Cleanup(func() { exec.Command("fusermount3", "-uz", dir).Run() })
	}
	stopped := map[int]bool{w.server(): true, hostMounts(t)[0].PID: true}
	for pid := range stopped {
		if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		defer unix.Kill(pid, unix.SIGCONT)
		// The signal stops one thread after the other.
		eventually(t, fmt.Sprintf("process %d is stopped", pid), func() bool { return allStopped(pid) })
	}
	all, err := session.List()
	for pid := range stopped {
		unix.Kill(pid, unix.SIGCONT)
	}
	if err != nil || len(all) != 3 {
		t.Fatalf("%d sessions and mounts, %v", len(all), err)
	}
	hosts := 0
	for _, s := range all {
		want := ""
		if stopped[s.PID] {
			want = fmt.Sprintf("process %d is stopped; let it go on with kill -CONT", s.PID)
		}
		if (s.Hung == "") != (want == "") || !strings.Contains(s.Hung, want) {
			t.Errorf("of %s: %q, want %q", s.Key, s.Hung, want)
		}
		if s.Host {
			hosts++
		}
	}
	if hosts != 2 {
		t.Errorf("%d mounts of 2", hosts)
	}
	for _, dir := range dirs {
		mustRun(t, "umount", dir)
	}
}

// allStopped reports whether all threads of a process are stopped.
func allStopped(pid int) bool {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && !strings.Contains(string(text), ") T ") {
			return false
		}
	}
	return len(files) > 0
}
