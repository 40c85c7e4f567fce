package session_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/mount/repotest"
)

// server is the process that serves now.
func (w *world) server() int {
	w.t.Helper()
	pid := 0
	eventually(w.t, "the session answers", func() bool {
		s, err := enter.Dial(w.dir)
		if err != nil {
			return false
		}
		defer s.Close()
		status, err := s.Status()
		pid = status.PID
		return err == nil
	})
	return pid
}

// parentOf is the process that started pid.
func parentOf(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return atoi(t, strings.Fields(rest)[1])
}

// killed kills the server and waits for the next one.
func (w *world) killed() {
	w.t.Helper()
	pid := w.server()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		w.t.Fatal(err)
	}
	waitGone(w.t, pid)
	if next := w.server(); next == pid {
		w.t.Fatal("the server that was killed answers")
	}
}

// inside is a shell that runs in the image.
type inside struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	log string
}

func (w *world) inside(image string) *inside { return w.insideAs("shell", image) }

func (w *world) insideAs(role, image string) *inside {
	w.t.Helper()
	cmd := w.client(role, image, `cd "$IMAGE"; exec sh`)
	in, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { in.Close(); cmd.Process.Kill(); cmd.Wait() })
	i := &inside{w.t, cmd, in, bufio.NewReader(out), filepath.Join(w.t.TempDir(), "log")}
	if got := i.do("echo ready"); got != "ready" {
		w.t.Fatalf("the container says %q", got)
	}
	return i
}

// do runs a command and answers its last line.
func (i *inside) do(command string) string {
	i.t.Helper()
	if _, err := fmt.Fprintf(i.in, "{ %s; } >%s 2>&1; tail -n 1 %[2]s; echo\n", command, i.log); err != nil {
		i.t.Fatal(err)
	}
	line := make(chan string, 1)
	go func() {
		var text string
		var err error
		for strings.TrimSpace(text) == "" && err == nil { // what the last one left
			text, err = i.out.ReadString('\n')
		}
		if err != nil {
			text = err.Error()
		}
		line <- strings.TrimSpace(text)
	}()
	select {
	case text := <-line:
		return text
	case <-time.After(patience):
		i.t.Fatalf("no answer within %s to %s", patience, command)
		return ""
	}
}

// A container outlives its session's server: open files, directories, what it has seen and what it has not.
func TestServerKilled(t *testing.T) {
	needFUSE(t)
	repo, _, repos := serve(t)
	w := newWorld(t, repos, "")
	c := w.inside("registry.example.org/library/tool:1.0")
	if got := c.do("exec 3<big; head -c 16 <&3; echo; cat etc/motd"); got != "hello" {
		t.Fatalf("before: %q", got)
	}
	if !w.resumable() {
		t.Skip("this kernel does not send requests again")
	}
	for round := range 3 {
		w.killed()
		if got := c.do("pwd -P; ls; cat etc/motd"); got != "hello" {
			t.Fatalf("round %d: %q", round, got)
		}
		if got := c.do("cat <&3 | wc -c; exec 3<big; head -c 16 <&3"); !strings.HasPrefix(got, "0123456789abcdef") {
			t.Fatalf("round %d: the open file reads %q", round, got)
		}
	}
	// A new revision while nobody serves.
	repo.Publish(t, repotest.Rev{Tree: append(imageTree(), repotest.File{Path: "/.flat/" + flatID[:2] + "/" + flatID + "/new", Content: "new\n"})})
	if got := c.do("cat new"); !strings.Contains(got, "No such file") {
		t.Fatalf("before it is published: %q", got)
	}
	w.killed()
	eventually(t, "the new revision is found", func() bool { return w.mount().Revision == 2 })
	if got := w.inside("registry.example.org/library/tool:1.0").do("cat new"); got != "new" {
		t.Fatalf("the new revision reads %q", got)
	}
	if got := c.do("cat new; cat etc/motd"); got != "hello" {
		t.Fatalf("after the new revision: %q", got)
	}
}

// Nor does the next server wait for a network that swallows everything.
func TestServerKilledOffline(t *testing.T) {
	needFUSE(t)
	_, server, repos := serve(t)
	w := newWorld(t, repos, "network: {timeout_direct: 1h, deadline: 1h}")
	c := w.inside("registry.example.org/library/tool:1.0")
	if !w.resumable() {
		t.Skip("this kernel does not send requests again")
	}
	if got := c.do("cat etc/motd"); got != "hello" {
		t.Fatalf("before: %q", got)
	}
	server.Fail("*", repotest.Fault{Hang: true})
	w.killed()
	if got := c.do("ls; ls etc/none; cat etc/motd"); got != "hello" {
		t.Errorf("afterwards: %q", got)
	}
}

// The catalogs of revisions long past are not needed to go on, wherever they have gone. Where the network is down, one of them
// is waited for, not each.
func TestServerKilledLate(t *testing.T) {
	needFUSE(t)
	t.Run("gone", func(t *testing.T) { killedLate(t, repotest.Fault{Status: 404}, 4) })
	t.Run("out of reach", func(t *testing.T) { killedLate(t, repotest.Fault{Hang: true}, 1) })
}

// killedLate has past catalogs that meet the fault, and may be asked for the old ids of files in so many of them.
func killedLate(t *testing.T, fault repotest.Fault, most int) {
	r, server, repos := serve(t)
	w := newWorld(t, repos, "")
	c := w.insideAs("follow", "registry.example.org/library/tool:1.0")
	if !w.resumable() {
		t.Skip("this kernel does not send requests again")
	}
	var past []string
	tree := imageTree()
	for i := range 4 {
		root, err := cas.ParseHash(w.mount().RootHash)
		if err != nil {
			t.Fatal(err)
		}
		past = append(past, cas.Object{Hash: root, Suffix: cas.CatalogSuffix}.Name())
		name := fmt.Sprint("new", i)
		tree = append(tree, repotest.File{Path: "/.flat/" + flatID[:2] + "/" + flatID + "/" + name, Content: name})
		r.Publish(t, repotest.Rev{Tree: tree})
		s, err := enter.Dial(w.dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Refresh(r.FQRN); err != nil {
			t.Fatal(err)
		}
		s.Close()
		if got := c.do("cat " + name); got != name {
			t.Fatalf("the new revision reads %q", got)
		}
	}
	head, err := cas.ParseHash(w.mount().RootHash)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := filepath.Glob(filepath.Join(w.cache, "??", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if !strings.HasSuffix(o, head.String()[2:]) {
			os.Remove(o)
		}
	}
	for _, name := range past {
		server.Fail(name, fault)
	}
	start := server.Counts()
	w.killed()
	if got := c.do("cat new3; echo; ls | grep -c new"); got != "4" {
		t.Errorf("afterwards: %q", got)
	}
	before := server.Counts()
	asked := 0
	for _, name := range past {
		if before[name] > start[name] {
			asked++
		}
	}
	if asked > most {
		t.Errorf("%d catalogs of the past were asked for, want %d", asked, most)
	}
	if got := c.do("cat new0 new1 new2; echo; cat etc/nothing; cat new3"); got != "new3" {
		t.Errorf("afterwards: %q", got)
	}
	for i, name := range past { // it may have been wanted for the ids of files that did not change, but not again and again
		if n := server.Counts()[name] - before[name]; n > 0 {
			t.Errorf("catalog %d of the past was asked for %d times more", i, n)
		}
	}
}

// resumable tells whether the kernel sends requests again: from 6.9 on.
func (w *world) resumable() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var major, minor int
	fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	return major > 6 || major == 6 && minor >= 9
}

// Whenever the server is killed, those who wait for it get their answer from the next one: right bytes, no error.
func TestServerKilledAnytime(t *testing.T) {
	needFUSE(t)
	const rounds, files = 5, 40 // the parent gives up at the sixth death in a minute
	tree := imageTree()
	for round := range rounds {
		for i := range files { // every round meets what neither the kernel nor the cache has
			path := fmt.Sprintf("/.flat/%s/%s/%d/%d/file", flatID[:2], flatID, round, i)
			tree = append(tree, repotest.File{Path: path, Content: strings.Repeat(fmt.Sprintf("%d.%d\n", round, i), 5000)})
		}
	}
	r := repotest.Build(t, repotest.Spec{FQRN: "test.example.org", Tree: tree})
	w := newWorld(t, map[string]string{r.FQRN: repository(repotest.Serve(t, r.Dir).URL, r.KeyPath)}, "")
	c := w.inside("registry.example.org/library/tool:1.0")
	if !w.resumable() {
		t.Skip("this kernel does not send requests again")
	}
	for round := range rounds {
		var want, names strings.Builder
		for i := range files {
			fmt.Fprintf(&want, "%d.%d\n", round, i)
			fmt.Fprintf(&names, " %d/%d/file", round, i) // a glob would hide an error
		}
		pid := w.server()
		delay := time.Duration(rand.IntN(60)) * time.Millisecond
		go func() {
			time.Sleep(delay) // a random moment is what is tested
			unix.Kill(pid, unix.SIGKILL)
		}()
		got := c.do("cat" + names.String() + " | wc -lc")
		if want := fmt.Sprintf("%d %d", files*5000, want.Len()*5000); strings.Join(strings.Fields(got), " ") != want {
			t.Fatalf("round %d, killed after %s: %q, want %q", round, delay, got, want)
		}
		waitGone(t, pid)
	}
}

// A parent and server that are both killed leave a container with errors, not waiting, and the next start finds its way.
func TestSessionKilled(t *testing.T) {
	needFUSE(t)
	_, _, repos := serve(t)
	w := newWorld(t, repos, "")
	c := w.inside("registry.example.org/library/tool:1.0")
	server := w.server()
	parent := parentOf(t, server)
	for _, pid := range []int{parent, server} {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	waitGone(t, server)
	if !exists(w.dir + "/socket") {
		t.Error("a killed session removed its socket")
	}
	// The look-up that meets the end is aborted, later ones find the mount dead.
	if got := c.do("cat big"); !strings.Contains(got, "not connected") && !strings.Contains(got, "connection abort") {
		t.Errorf("a container of a killed session reads %q", got)
	}
	second := w.mustFind("debian:12", "bin/sh")
	if second.Session == server || second.Content != "#!" {
		t.Errorf("after the kill: %+v", second)
	}
}

// Without its parent a session goes on, and says what it lacks.
func TestParentKilled(t *testing.T) {
	needFUSE(t)
	_, _, repos := serve(t)
	w := newWorld(t, repos, "")
	c := w.inside("registry.example.org/library/tool:1.0")
	if status, ok := w.status(); !ok || status.Unkept {
		t.Errorf("with its parent: %+v", status)
	}
	parent := parentOf(t, w.server())
	if err := unix.Kill(parent, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitGone(t, parent)
	eventually(t, "status says that the parent is gone", func() bool { status, ok := w.status(); return ok && status.Unkept })
	if got := c.do("cat etc/motd"); got != "hello" {
		t.Errorf("a container reads %q", got)
	}
}

// A start does not wait long for a session that is stopped, and says which process it is.
func TestStopped(t *testing.T) {
	needFUSE(t)
	_, _, repos := serve(t)
	w := newWorld(t, repos, "")
	w.mustFind("debian:12")
	if w.resumable() {
		w.killed() // the message must name the process that serves now
	}
	server := w.server()
	if err := unix.Kill(server, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	_, err := w.find("debian:12")
	if cont := unix.Kill(server, unix.SIGCONT); cont != nil {
		t.Fatal(cont)
	}
	if want := fmt.Sprintf("process %d is stopped", server); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	w.mustFind("debian:12")
}

// A start does not wait for a session that is stopped while it answers, either.
func TestStoppedMeanwhile(t *testing.T) {
	needFUSE(t)
	near, _, repos := serve(t)
	far, network, conf := serveAs(t, "far.example.org")
	repos[far.FQRN] = conf
	network.Fail("*", repotest.Fault{Hang: true})
	w := newWorld(t, repos, "")
	w.mustFind("/cvmfs/" + near.FQRN + "/plain")
	server := w.server()
	failed := make(chan error, 1)
	go func() {
		_, err := w.find("/cvmfs/" + far.FQRN + "/plain")
		failed <- err
	}()
	eventually(t, "the server is asked", func() bool { return len(network.Counts()) > 0 })
	time.Sleep(time.Second) // for the client to be past its look whether the session is alive
	if err := unix.Kill(server, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	err := <-failed
	if cont := unix.Kill(server, unix.SIGCONT); cont != nil {
		t.Fatal(cont)
	}
	if want := fmt.Sprintf("process %d is stopped", server); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

// The parent holds little and goes with the server.
func TestParentEnds(t *testing.T) {
	needFUSE(t)
	_, _, repos := serve(t)
	w := newWorld(t, repos, "")
	w.mustFind("debian:12")
	server := w.server()
	parent := parentOf(t, server)
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", parent))
	if err != nil || len(fds) > 16 {
		t.Errorf("the parent has %d descriptors, %v", len(fds), err)
	}
	w.end()
	waitGone(t, parent)
}
