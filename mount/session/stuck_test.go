package session_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/mount/repotest"
)

// Whoever waits in a container for a server that says nothing leaves at once when told to.
func TestInterruptedInside(t *testing.T) {
	needFUSE(t)
	signals := []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGHUP}
	tree := imageTree()
	for _, s := range signals {
		tree = append(tree, repotest.File{Path: "/.flat/" + flatID[:2] + "/" + flatID + "/" + unix.SignalName(s), Content: s.String()})
	}
	r := repotest.Build(t, repotest.Spec{FQRN: "test.example.org", Tree: tree})
	server := repotest.Serve(t, r.Dir)
	w := newWorld(t, map[string]string{r.FQRN: repository(server.URL, r.KeyPath)}, "prefetch: {readahead: false, siblings: false, libraries: false}")
	c := w.inside("registry.example.org/library/tool:1.0")
	server.Fail("data/*/*", repotest.Fault{Hang: true})
	t.Cleanup(server.Heal)
	for _, s := range signals {
		object := r.Put(t, []byte(s.String()), cas.FileSuffix, cas.Zlib)
		pid := atoi(t, c.do("cat "+unix.SignalName(s)+" & echo $!"))
		eventually(t, "the reader waits for the server", func() bool { return server.Counts()[cas.Object{Hash: object}.Name()] > 0 })
		if err := unix.Kill(pid, s); err != nil {
			t.Fatalf("it did not wait: %v", err)
		}
		if got, want := c.do("wait $!; echo $?"), strconv.Itoa(128+int(s)); got != want {
			t.Errorf("after %s the reader ended with %s", s, got)
		}
	}
	server.Heal()
	if got := c.do("cat etc/motd"); got != "hello" {
		t.Errorf("afterwards: %q", got)
	}
}

// A repository whose whitelist expires while it is mounted goes on as it is, takes no new revision, and says why.
func TestExpiredWhileMounted(t *testing.T) {
	needFUSE(t)
	r, _, repos := serve(t)
	repos[r.FQRN] += "\nmax_ttl: 1s"
	w := newWorld(t, repos, "")
	c := w.inside("registry.example.org/library/tool:1.0")
	r.SignWhitelist(t, func(list *repo.Whitelist) { list.Expires = time.Date(2020, 2, 3, 0, 0, 0, 0, time.UTC) })
	r.Publish(t, repotest.Rev{Tree: append(imageTree(), repotest.File{Path: "/.flat/" + flatID[:2] + "/" + flatID + "/new", Content: "new\n"})})
	eventually(t, "status says that the whitelist expired", func() bool { return strings.Contains(w.mount().NotTaken, "expired") })
	if got := c.do("cat etc/motd"); got != "hello" {
		t.Errorf("what was verified reads %q", got)
	}
	if got := c.do("cat new"); !strings.Contains(got, "No such file") {
		t.Errorf("a revision that nobody vouches for shows: %q", got)
	}
	if m := w.mount(); m.Revision != 1 {
		t.Errorf("revision %d is shown", m.Revision)
	}
	if !w.resumable() {
		return
	}
	// Nor does it end with its server: the next one goes on with what was verified, and with nothing else.
	w.killed()
	if got := c.do("ls; cat etc/motd"); got != "hello" {
		t.Errorf("after the server was killed, what was verified reads %q", got)
	}
	eventually(t, "status says it again", func() bool { m := w.mount(); return m.Revision == 1 && strings.Contains(m.NotTaken, "expired") })
	if got := c.do("cat new"); !strings.Contains(got, "No such file") {
		t.Errorf("after the server was killed, a revision that nobody vouches for shows: %q", got)
	}
	if f, err := w.find("registry.example.org/library/tool:1.0", "etc/motd"); err != nil || f.Content != "hello\n" || f.Revision != 1 {
		t.Errorf("a new container sees %+v, %v", f, err)
	}
	r.SignWhitelist(t, func(*repo.Whitelist) {})
	eventually(t, "the new revision shows when somebody vouches for it", func() bool { return w.mount().Revision == 2 })
}

// What the site puts on its blacklist while it is mounted holds for new revisions and new containers, and those that run go on.
func TestBlacklistedWhileMounted(t *testing.T) {
	needFUSE(t)
	r, _, repos := serve(t)
	w := newWorld(t, repos, "")
	c := w.inside("registry.example.org/library/tool:1.0")
	text, err := os.ReadFile(w.config)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "cvmfs_dir: ")
	cvmfs, _, _ := strings.Cut(rest, "\n")
	refresh := func(list string) error {
		if err := os.WriteFile(filepath.Join(cvmfs, "blacklist"), []byte(list), 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := enter.Dial(w.dir)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		return s.Refresh(r.FQRN)
	}
	if err := refresh("<" + r.FQRN + " 3\n"); err == nil || !strings.Contains(err.Error(), "refuses those below 3") {
		t.Errorf("refresh: %v", err)
	}
	if got := c.do("cat etc/motd"); got != "hello" {
		t.Errorf("what runs reads %q", got)
	}
	if _, err := w.find("registry.example.org/library/tool:1.0"); err == nil || !strings.Contains(err.Error(), "refuses those below 3") {
		t.Errorf("a new container: %v", err)
	}
	if err := refresh("not a fingerprint\n"); err == nil || !strings.Contains(err.Error(), "blacklist: line") {
		t.Errorf("a list that cannot be read: %v", err)
	}
	if err := refresh("<" + r.FQRN + " 1\n"); err != nil {
		t.Error(err)
	}
	w.mustFind("registry.example.org/library/tool:1.0", "etc/motd")
}

// A server that cannot be reached any more ends a read with EIO, and status has the reason.
func TestFailureInStatus(t *testing.T) {
	needFUSE(t)
	_, server, repos := serve(t)
	w := newWorld(t, repos, "network: {deadline: 1, timeout: 1, timeout_direct: 1, patience: 1, max_retries: 0}")
	c := w.inside("registry.example.org/library/tool:1.0")
	server.Fail("data/*/*", repotest.Fault{Status: 500})
	if got := c.do("cat big"); !strings.Contains(got, unix.EIO.Error()) && !strings.Contains(strings.ToLower(got), "input/output error") {
		t.Errorf("the reader sees %q", got)
	}
	s, err := enter.Dial(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	status, err := s.Status()
	if err != nil {
		t.Fatal(err)
	}
	if f := strings.Join(status.Mounts[0].Failures, "\n"); !strings.Contains(f, "READ") || !strings.Contains(f, "/big") {
		t.Errorf("status tells of %q", f)
	}
	if log, err := os.ReadFile(filepath.Join(w.dir, "log")); err != nil || !strings.Contains(string(log), "/big") {
		t.Errorf("the log says %q, %v", log, err)
	}
	if status.Memory <= 0 || status.Descriptors <= 0 || status.Goroutines <= 0 || len(status.Mounts[0].Latency) == 0 {
		t.Errorf("nothing is told of the server: %+v", status)
	}
}
