package session_test

import (
	"crypto/rsa"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/mount/repotest"
)

// serveAs builds a repository of another name with the same tree.
func serveAs(t *testing.T, fqrn string, more ...repotest.File) (*repotest.Repo, *repotest.Server, string) {
	t.Helper()
	r := repotest.Build(t, repotest.Spec{FQRN: fqrn, Tree: append(imageTree(), more...)})
	s := repotest.Serve(t, r.Dir)
	return r, s, repository(s.URL, r.KeyPath)
}

// Whoever mends the configuration after an error goes on in the same session.
func TestMendedConfiguration(t *testing.T) {
	needFUSE(t)
	good, server, _ := serve(t)
	w := newWorld(t, map[string]string{good.FQRN: repository(server.URL, "/nonexistent.pub")}, "")
	const image = "/cvmfs/test.example.org/plain"
	if _, err := w.find(image); err == nil || !strings.Contains(err.Error(), "/nonexistent.pub") {
		t.Fatalf("without a key: %v", err)
	}
	pid := w.server()
	text, err := os.ReadFile(w.config)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(w.config, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.ReplaceAll(string(text), "/nonexistent.pub", good.KeyPath))
	if _, err := w.find(image); err != nil || w.server() != pid {
		t.Errorf("mended: %v; server %d, was %d", err, w.server(), pid)
	}
	// What is mounted stays as it is, and a fault in the file is told to those who want something else.
	write(string(text) + "frob: 1\n")
	if _, err := w.find(image); err != nil {
		t.Errorf("what is mounted: %v", err)
	}
	if _, err := w.find("/cvmfs/other.example.org/x"); err == nil || !strings.Contains(err.Error(), "there is no key frob") {
		t.Errorf("with a fault: %v", err)
	}
}

// Each failure is one line that names the thing and what is wrong with it, and leaves the session usable.
func TestFailures(t *testing.T) {
	needFUSE(t)
	good, _, repos := serve(t)
	expired := repotest.Build(t, repotest.Spec{FQRN: "expired.example.org", Tree: imageTree(), Expires: time.Date(2020, 2, 3, 0, 0, 0, 0, time.UTC)})
	repos[expired.FQRN] = repository(repotest.Serve(t, expired.Dir).URL, expired.KeyPath)
	strange, server, _ := serveAs(t, "strange.example.org")
	repos[strange.FQRN] = repository(server.URL, wrongKey(t))
	down, server, lines := serveAs(t, "down.example.org")
	repos[down.FQRN] = lines + "\ndeadline: 2s\npatience: 1s\nmax_retries: -1"
	server.Fail("*", repotest.Fault{Reset: true})
	damaged, server, lines := serveAs(t, "damaged.example.org", repotest.File{Path: "/unlike", Content: "the others"})
	repos[damaged.FQRN] = lines
	server.Fail("data/*/*C", repotest.Fault{Flip: 7})
	repos["nokey.example.org"] = repository(server.URL, "/nonexistent.pub")
	w := newWorld(t, repos, "images: {search: [test.example.org]}")
	tests := []struct {
		image string
		want  []string
	}{
		{"/cvmfs/unknown.example.org/x", []string{"unknown.example.org", "not configured"}},
		{"/cvmfs/tset.example.org/plain", []string{"tset.example.org", "did you mean", "test.example.org"}},
		{"/cvmfs/test.example.org/plian/x", []string{"has no /plian/x", "did you mean /cvmfs/test.example.org/plain?"}},
		{"/cvmfs/test.example.org/plian/bin", []string{"did you mean /cvmfs/test.example.org/plain/bin?"}},
		{"debian:13", []string{"image debian:13 (registry.hub.docker.com/library/debian:13) is not in test.example.org; did you mean registry.hub.docker.com/library/debian:12"}},
		{"/cvmfs/test.example.org/registry.example.org/library/tol:1.0", []string{"library/tool:1.0?"}},
		{"/cvmfs/test.example.org/plain/bin/sh", []string{"is a file"}},
		{"/cvmfs/test.example.org/plain/bin/sh/x", []string{"has no /plain/bin/sh/x"}},
		{"/cvmfs/test.example.org/loop", []string{"more than 40 symbolic links"}},
		{"/cvmfs/test.example.org/outside/x", []string{"/etc/x, which is in no repository"}},
		{"/cvmfs/test.example.org/away", []string{"/cvmfs/other.example.org/there", "not configured"}},
		{"/cvmfs/../x", []string{"image"}},
		{"cvmfs://a b/x", []string{"image cvmfs://a b/x"}},
		{"registry.example.org/library/toool:1.0", []string{"test.example.org", "did you mean registry.example.org/library/tool:1.0?"}},
		{"nothing:like@it", []string{`image "nothing:like@it"`}},
		{"/cvmfs/expired.example.org/plain", []string{"expired.example.org", "whitelist", "expired", "2020"}},
		{"/cvmfs/strange.example.org/plain", []string{"strange.example.org", "whitelist", "signature"}},
		{"/cvmfs/down.example.org/plain", []string{"down.example.org", "127.0.0.1"}},
		{"/cvmfs/damaged.example.org/plain", []string{"damaged.example.org", "corrupt"}},
		{"/cvmfs/nokey.example.org/plain", []string{"nokey.example.org", "/nonexistent.pub"}},
	}
	for _, tt := range tests {
		_, err := w.find(tt.image)
		if err == nil {
			t.Errorf("%s was found", tt.image)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q, want %q in it", tt.image, err, want)
			}
		}
		if first, rest, _ := strings.Cut(err.Error(), ": "); strings.HasPrefix(rest, first+": ") || strings.Count(err.Error(), "repository "+tt.image) > 1 {
			t.Errorf("%s: says it twice: %q", tt.image, err)
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than one line: %q", tt.image, err)
		}
	}
	if f := w.mustFind("/cvmfs/"+good.FQRN+"/plain", "bin/sh"); f.Content != "#!" {
		t.Errorf("after all that: %+v", f)
	}
	if status, ok := w.status(); !ok || len(status.Errors) == 0 || len(status.Errors) > 20 {
		t.Errorf("status has %d errors", len(status.Errors))
	}
}

func wrongKey(t *testing.T) string {
	t.Helper()
	return repotest.Build(t, repotest.Spec{FQRN: "key.example.org", Masters: []*rsa.PrivateKey{repotest.Key(t, 2)}}).KeyPath
}

// A catalog that the server does not have is the server's fault, not a misspelt path.
func TestMissingCatalog(t *testing.T) {
	needFUSE(t)
	r := repotest.Build(t, repotest.Spec{FQRN: "test.example.org", Tree: []repotest.File{
		{Path: "/sub", Kind: repotest.Dir, Nested: true}, {Path: "/sub/image/file", Content: "x"}, {Path: "/plain/file", Content: "y"},
	}})
	server := repotest.Serve(t, r.Dir)
	w := newWorld(t, map[string]string{r.FQRN: repository(server.URL, r.KeyPath) + "\ndeadline: 2s\npatience: 1s\nmax_retries: -1"}, "")
	w.mustFind("/cvmfs/test.example.org/plain")
	server.Fail("data/*/*C", repotest.Fault{Status: 404})
	if _, err := w.find("/cvmfs/test.example.org/sub/image"); err == nil || strings.Contains(err.Error(), "has no") {
		t.Errorf("%v", err)
	}
	server.Heal()
	if f := w.mustFind("/cvmfs/test.example.org/sub/image", "file"); f.Content != "x" {
		t.Errorf("%+v", f)
	}
}

// A session that cannot start says why, and leaves nothing.
func TestStartFailures(t *testing.T) {
	needFUSE(t)
	for name, tt := range map[string]struct{ more, want string }{
		"unknown key": {"cahce: {}", "cahce"},
		"no cache":    {"", "cache"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil, tt.more)
			if name == "no cache" {
				if err := os.Remove(w.cache); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(w.cache, nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			err := enter.Start(t.Context(), enter.StartOptions{Program: program(t)})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if exists(w.dir) {
				t.Error("the directory is left")
			}
		})
	}
}

// A server that comes back serves the next who asks, in the same session.
func TestRecovery(t *testing.T) {
	needFUSE(t)
	_, server, repos := serve(t)
	w := newWorld(t, repos, "")
	server.Fail("*", repotest.Fault{Status: 500})
	_, err := w.find("debian:12")
	if err == nil || !strings.Contains(err.Error(), "500") {
		t.Errorf("%v, want the server's status", err)
	}
	before, ok := w.status()
	if !ok {
		t.Fatal("the session has gone")
	}
	server.Heal()
	if f := w.mustFind("debian:12"); f.Session != before.PID {
		t.Errorf("session %d, then %d", before.PID, f.Session)
	}
}

// Whatever comes in on the socket, the session goes on.
func TestNonsenseOnSocket(t *testing.T) {
	needFUSE(t)
	_, _, repos := serve(t)
	w := newWorld(t, repos, "")
	w.start()
	for _, text := range []string{"", "\n", "x\n", "{}\n", `{"op":"join"}` + "\n" + `{"op":"join"}` + "\n", `{"op":"resolve"}` + "\n", strings.Repeat("x", 1<<17), `{"op":"mount","name":"../../x"}` + "\n"} {
		s, err := enter.Dial(w.dir)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(s.Conn, text)
		s.Close()
	}
	if f := w.mustFind("debian:12", "bin/sh"); f.Content != "#!" {
		t.Errorf("%+v", f)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "x")); err == nil {
		t.Error("a name led out of the tree")
	}
}
