package session_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/mount/repotest"
	"github.com/flatrun/flatrun/mount/session"
)

func needFusermount(t *testing.T) {
	t.Helper()
	needFUSE(t)
	if _, err := exec.LookPath("fusermount3"); err != nil {
		t.Skip(err)
	}
}

func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.Command(program(t), args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	out, err := run(t, args...)
	if err != nil {
		t.Fatalf("%q: %v: %s", args, err, out)
	}
	return out
}

// hostMounts lists the mounts of flatrun mount.
func hostMounts(t *testing.T) []enter.Status {
	t.Helper()
	all, err := session.List()
	if err != nil {
		t.Fatal(err)
	}
	var mounts []enter.Status
	for _, s := range all {
		if s.Host {
			mounts = append(mounts, s)
		}
	}
	return mounts
}

func TestHostMount(t *testing.T) {
	needFusermount(t)
	r, _, repos := serve(t)
	newWorld(t, repos, "")
	dir := t.TempDir()
	mustRun(t, "mount", r.FQRN, dir)
	t.Cleanup(func() { exec.Command("fusermount3", "-uz", dir).Run() })
	if b, err := os.ReadFile(dir + "/plain/bin/sh"); err != nil || string(b) != "#!" {
		t.Errorf("read %q, %v", b, err)
	}
	mounts := hostMounts(t)
	if len(mounts) != 1 || mounts[0].Mounts[0].Mountpath != dir || mounts[0].Mounts[0].Revision != 1 {
		t.Fatalf("status: %+v", mounts)
	}
	f, err := os.Open(dir + "/plain/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, "mount", r.FQRN, dir); err == nil || !strings.Contains(out, "is a mount of yours already") {
		t.Errorf("mounted twice: %v %s", err, out)
	}
	if out, err := run(t, "umount", dir); err == nil || !strings.Contains(out, "busy") {
		t.Errorf("umount of a used mount: %v %s", err, out)
	}
	f.Close()
	mustRun(t, "umount", dir)
	if left := hostMounts(t); len(left) > 0 || exists(mounts[0].Dir) {
		t.Errorf("left: %+v", left)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Errorf("still mounted: %v %v", names, err)
	}
}

func TestHostMountAtUsualPlace(t *testing.T) {
	needFusermount(t)
	r, _, repos := serve(t)
	newWorld(t, repos, "")
	dir := mustRun(t, "mount", r.FQRN)
	t.Cleanup(func() { exec.Command("fusermount3", "-uz", dir).Run() })
	if !exists(filepath.Join(dir, "plain")) || !strings.HasPrefix(dir, os.Getenv("XDG_RUNTIME_DIR")) {
		t.Errorf("mounted at %q", dir)
	}
	mustRun(t, "umount", r.FQRN)
	if exists(filepath.Join(dir, "plain")) {
		t.Error("still mounted")
	}
	out, err := run(t, "mount", "nobody.example.org")
	if err == nil || strings.HasPrefix(out, "/") || exists(filepath.Join(filepath.Dir(dir), "nobody.example.org")) {
		t.Errorf("a mount that failed says %s (%v), or leaves a directory", out, err)
	}
}

func TestHostMountFails(t *testing.T) {
	needFusermount(t)
	r, server, repos := serve(t)
	newWorld(t, repos, "")
	server.Fail("*", repotest.Fault{Status: 403})
	dir := t.TempDir()
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"mount", r.FQRN, dir}, "403"},
		{[]string{"mount", "nobody.example.org", dir}, "not configured"},
		{[]string{"mount", r.FQRN, "/nonexistent"}, "no such file"},
		{[]string{"mount", r.FQRN, "/etc/passwd"}, "not a directory"},
		{[]string{"umount", dir}, "umount " + dir},
		{[]string{"umount", r.FQRN}, "not mounted"},
		{[]string{"mount"}, "usage: flatrun-session mount"},
		{[]string{"frob"}, "usage:"},
		{[]string{"--config", "/nonexistent", "mount", r.FQRN, dir}, "/nonexistent"},
		{[]string{"resolve", "x"}, "no session"},
	} {
		out, err := run(t, tt.args...)
		if err == nil || !strings.Contains(out, tt.want) {
			t.Errorf("%q: %v: %s, want %q", tt.args, err, out, tt.want)
		}
	}
	if left := hostMounts(t); len(left) > 0 {
		t.Errorf("left: %+v", left)
	}
}

// A mount follows new revisions, and SIGTERM takes it away.
func TestHostMountFollows(t *testing.T) {
	needFusermount(t)
	r, _, repos := serve(t)
	repos[r.FQRN] += "\nmax_ttl: 1s"
	newWorld(t, repos, "")
	dir := t.TempDir()
	mustRun(t, "mount", r.FQRN, dir)
	t.Cleanup(func() { exec.Command("fusermount3", "-uz", dir).Run() })
	if exists(dir + "/new") {
		t.Error("the new file is there already")
	}
	r.Publish(t, repotest.Rev{Tree: append(imageTree(), repotest.File{Path: "/new", Content: "n"})})
	eventually(t, "the new revision shows", func() bool { return exists(dir + "/new") })
	mounts := hostMounts(t)
	if len(mounts) != 1 || mounts[0].Mounts[0].Revision != 2 {
		t.Fatalf("status: %+v", mounts)
	}
	p, err := os.FindProcess(mounts[0].PID)
	if err != nil {
		t.Fatal(err)
	}
	p.Signal(os.Interrupt)
	waitGone(t, mounts[0].PID)
	if exists(dir + "/plain") {
		t.Error("still mounted")
	}
}

// The server of a mount is killed: what is open and what is not goes on, and the mount ends like any other.
func TestHostMountKilled(t *testing.T) {
	needFusermount(t)
	r, _, repos := serve(t)
	w := newWorld(t, repos, "")
	if !w.resumable() {
		t.Skip("this kernel does not send requests again")
	}
	dir := t.TempDir()
	mustRun(t, "mount", r.FQRN, dir)
	t.Cleanup(func() { exec.Command("fusermount3", "-uz", dir).Run() })
	f, err := os.Open(dir + "/plain/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pid := hostMounts(t)[0].PID
	parent := parentOf(t, pid)
	for range 2 {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitGone(t, pid)
		if b, err := os.ReadFile(dir + "/.flat/" + flatID[:2] + "/" + flatID + "/etc/motd"); err != nil || string(b) != "hello\n" {
			t.Errorf("a file that was not read yet: %q, %v", b, err)
		}
		if b, err := io.ReadAll(io.NewSectionReader(f, 0, 10)); err != nil || string(b) != "#!" {
			t.Errorf("the open file: %q, %v", b, err)
		}
		mounts := hostMounts(t)
		if len(mounts) != 1 || mounts[0].PID == pid || mounts[0].Mounts[0].Mountpath != dir || len(mounts[0].Errors) == 0 {
			t.Fatalf("status: %+v", mounts)
		}
		pid = mounts[0].PID
	}
	f.Close()
	mustRun(t, "umount", dir)
	waitGone(t, parent)
	if left := hostMounts(t); len(left) > 0 {
		t.Errorf("left: %+v", left)
	}
}
