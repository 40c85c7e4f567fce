package session_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/mount/fusefs"
)

func TestRunFromNothing(t *testing.T) {
	needFUSE(t)
	_, server, repos := serve(t)
	w := newWorld(t, repos, "")
	for i, image := range []string{
		"registry.example.org/library/tool:1.0", "/cvmfs/test.example.org/registry.example.org/library/tool:1.0",
		"cvmfs://test.example.org/link/tool:1.0", "debian:12", "docker://debian:12", "/cvmfs/test.example.org//plain/",
	} {
		f := w.mustFind(image)
		if f.Kind != enter.Joined || f.FQRN != "test.example.org" || f.Revision != 1 || f.Host || f.Session <= 0 {
			t.Errorf("%s: %+v", image, f)
		}
		if flat := i < 3; flat && f.InRepo != "/.flat/"+flatID[:2]+"/"+flatID || !flat && f.InRepo != "/plain" {
			t.Errorf("%s is at %s", image, f.InRepo)
		}
		if f.Path != f.Source+f.InRepo || !strings.HasPrefix(f.Source, w.dir+"/cvmfs/test.example.org/"+fusefs.PinPrefix) {
			t.Errorf("%s: path %s in %s", image, f.Path, f.Source)
		}
	}
	if f := w.mustFind("registry.example.org/library/tool:1.0", "etc/motd"); f.Content != "hello\n" {
		t.Errorf("read %q", f.Content)
	}
	if n := server.Count(".cvmfspublished"); n != 1 {
		t.Errorf("the manifest was fetched %d times by one session", n)
	}
	if exists(w.dir + "/cvmfs/test.example.org") {
		t.Error("the session's tree shows outside of its namespace")
	}
}

// The configuration goes with a flat image that has no scripts of its own, if it is the one that the image's id names.
func TestImageConfiguration(t *testing.T) {
	needFUSE(t)
	_, _, repos := serve(t)
	w := newWorld(t, repos, "")
	for image, want := range map[string]string{
		"registry.example.org/library/tool:1.0": imageConfig, "sha256/" + flatID: "", "debian:12": "",
		"/cvmfs/test.example.org/.flat/" + flatID[:2] + "/" + flatID:          imageConfig,
		"/cvmfs/test.example.org/.flat/" + flatID[:2] + "/" + flatID + "/etc": "",
		"/cvmfs/test.example.org/.flat/" + scriptedID[:2] + "/" + scriptedID:  "",
		"/cvmfs/test.example.org/.flat/" + forgedID[:2] + "/" + forgedID:      "",
	} {
		f, err := w.find(image)
		if strings.HasPrefix(image, "sha256/") {
			if err == nil {
				t.Errorf("%s was found at %s", image, f.Path)
			}
			continue
		}
		if err != nil || string(f.Config) != want {
			t.Errorf("%s: configuration %q, %v; want %q", image, f.Config, err, want)
		}
	}
}

// A process that joined while the repository was being mounted has a copy of the tree that lacks it.
func TestJoinDuringMount(t *testing.T) {
	needFUSE(t)
	_, _, repos := serve(t)
	w := newWorld(t, repos, "")
	if f, err := w.findAs("renew", "debian:12", "bin/sh"); err != nil || f.Content != "#!" {
		t.Errorf("%+v, %v", f, err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// A hundred first starts at once make one session, and each object crosses the wire once.
func TestConcurrentFirstStarts(t *testing.T) {
	needFUSE(t)
	_, server, repos := serve(t)
	w := newWorld(t, repos, "")
	program(t)
	const n = 100
	var wg sync.WaitGroup
	results := make([]found, n)
	failures := make([]error, n)
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			results[i], failures[i] = w.find("registry.example.org/library/tool:1.0", "etc/motd", "big")
		}()
	}
	wg.Wait()
	for i := range n {
		if failures[i] != nil {
			t.Fatalf("start %d: %v", i, failures[i])
		}
		if results[i].Session != results[0].Session {
			t.Errorf("two sessions: %d and %d", results[0].Session, results[i].Session)
		}
		if results[i].Content != "hello\n"+strings.Repeat("0123456789abcdef", 1<<14) {
			t.Errorf("start %d read something else", i)
		}
	}
	for name, count := range server.Counts() {
		if count > 1 {
			t.Errorf("%s was fetched %d times", name, count)
		}
	}
}

// What a session left in its directory, or somebody put there, must not keep the next one from starting.
func TestLeftovers(t *testing.T) {
	needFUSE(t)
	_, _, repos := serve(t)
	w := newWorld(t, repos, "")
	if err := enter.MakeDir(w.dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"socket", "log"} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(w.dir+"/cvmfs", 0o755); err != nil {
		t.Fatal(err)
	}
	if f := w.mustFind("debian:12", "bin/sh"); f.Content != "#!" {
		t.Errorf("read %q", f.Content)
	}
}

func TestRefusesStrangersDirectory(t *testing.T) {
	needFUSE(t)
	_, _, repos := serve(t)
	w := newWorld(t, repos, "")
	base := filepath.Dir(w.dir)
	if err := os.Symlink(t.TempDir(), base); err != nil {
		t.Fatal(err)
	}
	if _, err := w.find("debian:12"); err == nil || !strings.Contains(err.Error(), "is not a directory, so it is not used") {
		t.Errorf("a link in place of the directory: %v", err)
	}
	if err := os.Remove(base); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(base, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(base, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := w.find("debian:12"); err == nil || !strings.Contains(err.Error(), "is open to others") {
		t.Errorf("an open directory: %v", err)
	}
}

// holder is a process inside that waits for its input to end.
type holder struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (w *world) hold(role, image, script string) *holder {
	w.t.Helper()
	h := &holder{cmd: w.client(role, image, script)}
	h.cmd.Stderr = os.Stderr
	var err error
	if h.in, err = h.cmd.StdinPipe(); err != nil {
		w.t.Fatal(err)
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { h.cmd.Process.Kill(); h.cmd.Wait() })
	h.out = bufio.NewReader(out)
	return h
}

func (h *holder) line(t *testing.T) string {
	t.Helper()
	line, err := h.out.ReadString('\n')
	if err != nil {
		t.Fatalf("read from a process inside: %v (got %q)", err, line)
	}
	return line
}

// status asks the session from outside.
func (w *world) status() (enter.Status, bool) {
	s, err := enter.Dial(w.dir)
	if err != nil {
		return enter.Status{}, false
	}
	defer s.Close()
	status, err := s.Status()
	return status, err == nil
}

// The session stays as long as a process is inside, though none is connected, and then goes without a trace.
func TestIdleEnd(t *testing.T) {
	needFUSE(t)
	for _, role := range []string{"sh", "pid"} {
		t.Run(role, func(t *testing.T) {
			_, _, repos := serve(t)
			w := newWorld(t, repos, "session: {idle: 50ms}")
			h := w.hold(role, "debian:12", "echo ready; read x; cat $IMAGE/bin/sh; echo; read y")
			h.line(t)
			eventually(t, "the process inside is counted", func() bool {
				status, ok := w.status()
				return ok && status.Users > 0 && status.Clients == 0
			})
			before, _ := w.status()
			time.Sleep(500 * time.Millisecond) // ten idle times in which nothing may happen
			io.WriteString(h.in, "\n")
			if line := h.line(t); line != "#!\n" {
				t.Errorf("read %q in the container", line)
			}
			if after, ok := w.status(); !ok || after.PID != before.PID {
				t.Error("the session went while somebody was inside")
			}
			h.in.Close()
			h.cmd.Wait()
			waitGone(t, before.PID)
			if left, _ := os.ReadDir(filepath.Dir(w.dir)); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestQuit(t *testing.T) {
	needFUSE(t)
	_, _, repos := serve(t)
	w := newWorld(t, repos, "")
	h := w.hold("sh", "debian:12", "echo ready; read x")
	h.line(t)
	eventually(t, "the client has become its command", func() bool {
		status, ok := w.status()
		return ok && status.Clients == 0
	})
	s, err := enter.Dial(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Quit(false); err == nil || !strings.Contains(err.Error(), "1 processes use the session") {
		t.Errorf("quit of a used session: %v", err)
	}
	status, err := s.Status()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Quit(true); err != nil {
		t.Fatal(err)
	}
	waitGone(t, status.PID)
	if exists(w.dir) {
		t.Error("the directory is left")
	}
}

// A process that has ended uses nothing, although nobody has collected its exit code.
func TestQuitBesideZombie(t *testing.T) {
	needFUSE(t)
	_, _, repos := serve(t)
	w := newWorld(t, repos, "")
	h := w.hold("sh", "debian:12", "echo ready; read x")
	h.line(t)
	if status, ok := w.status(); !ok || status.Users != 1 {
		t.Errorf("%d processes are counted", status.Users)
	}
	h.in.Close()
	eventually(t, "a process that ended is not counted", func() bool {
		status, ok := w.status()
		return ok && status.Users == 0 && status.Clients == 0
	})
	if state, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(h.cmd.Process.Pid), "stat")); err != nil || !strings.Contains(string(state), ") Z ") {
		t.Errorf("it is %q, %v, want a zombie", state, err)
	}
	s, err := enter.Dial(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Quit(false); err != nil {
		t.Error(err)
	}
}

func TestTerminated(t *testing.T) {
	needFUSE(t)
	_, _, repos := serve(t)
	w := newWorld(t, repos, "")
	f := w.mustFind("debian:12")
	p, err := os.FindProcess(f.Session)
	if err != nil {
		t.Fatal(err)
	}
	p.Signal(os.Interrupt)
	waitGone(t, f.Session)
	if exists(w.dir) {
		t.Error("the directory is left")
	}
}

// A repository that is mounted later appears in containers that run already.
func TestLaterMountShowsInside(t *testing.T) {
	needFUSE(t)
	r, server, repos := serve(t)
	repos["other.example.org"] = repository(server.URL, r.KeyPath) // which lies about its name
	second, _, more := serveAs(t, "second.example.org")
	repos[second.FQRN] = more
	w := newWorld(t, repos, "images: {search: [test.example.org]}")
	h := w.hold("sh", "debian:12", "echo ready; read x; cat $ROOTS/second.example.org/plain/bin/sh; echo; read y")
	h.line(t)
	if f := w.mustFind("/cvmfs/second.example.org/plain"); f.FQRN != second.FQRN {
		t.Errorf("%+v", f)
	}
	io.WriteString(h.in, "\n")
	if line := h.line(t); line != "#!\n" {
		t.Errorf("read %q", line)
	}
	if _, err := w.find("/cvmfs/other.example.org/plain"); err == nil || !strings.Contains(err.Error(), "wrong repository name") {
		t.Errorf("a repository under another's name: %v", err)
	}
	status, ok := w.status()
	if !ok || len(status.Mounts) != 2 || len(status.Errors) != 1 {
		t.Errorf("status: %+v", status)
	}
}

func TestStatus(t *testing.T) {
	needFUSE(t)
	r, server, repos := serve(t)
	w := newWorld(t, repos, "")
	w.mustFind("debian:12", "bin/sh")
	status, ok := w.status()
	if !ok || len(status.Mounts) != 1 {
		t.Fatalf("status: %+v", status)
	}
	m := status.Mounts[0]
	if m.FQRN != r.FQRN || m.Revision != 1 || m.RootHash != r.Manifest.Root.String() || m.Proxy != "DIRECT" || !strings.Contains(server.URL, m.Server) ||
		m.Fetched == 0 || m.Requests["READDIRPLUS"] == 0 || m.Mountpath != w.dir+"/cvmfs/"+r.FQRN {
		t.Errorf("mount: %+v", m)
	}
	if status.Dir != w.dir || status.Key != filepath.Base(w.dir) || status.Cache.Dir != w.cache || status.Cache.Objects == 0 {
		t.Errorf("status: %+v", status)
	}
	s, err := enter.Dial(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Unmount(r.FQRN); err != nil {
		t.Error(err)
	}
	if err := s.Unmount(r.FQRN); err == nil {
		t.Error("unmounted twice")
	}
	if status, err := s.Status(); err != nil || len(status.Mounts) != 0 {
		t.Errorf("after unmount: %+v %v", status.Mounts, err)
	}
	if f := w.mustFind("debian:12", "bin/sh"); f.Content != "#!" {
		t.Errorf("mounted again: %+v", f)
	}
}
