package session_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/config"
	"github.com/flatrun/flatrun/mount/repotest"
	"github.com/flatrun/flatrun/mount/session"
)

// prefetch runs with the configuration of the world.
func (w *world) prefetch(cfg session.PrefetchConfig) (session.PrefetchReport, error) {
	w.t.Helper()
	settings, err := config.Load(config.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	cfg.Settings = settings
	return session.Prefetch(w.t.Context(), cfg)
}

// What was fetched beforehand runs without a network, from the cache, from another directory, and from one file.
func TestPrefetch(t *testing.T) {
	needFUSE(t)
	_, server, repos := serve(t)
	const image = "registry.example.org/library/tool:1.0"
	into := filepath.Join(t.TempDir(), "into")
	archive := filepath.Join(t.TempDir(), "tool.flatrun")
	w := newWorld(t, repos, "")
	var seen atomic.Int64
	r, err := w.prefetch(session.PrefetchConfig{Image: image, Progress: func(session.PrefetchReport) { seen.Add(1) }})
	// motd and four chunks of which two are alike: the file repeats itself.
	if err != nil || r.Files != 2 || r.Fetched != r.Objects || r.Present != 0 || !r.Found || r.FQRN != "test.example.org" || seen.Load() != r.Objects {
		t.Fatalf("%+v, %v; %d calls", r, err, seen.Load())
	}
	if again, err := w.prefetch(session.PrefetchConfig{Image: image}); err != nil || again.Fetched != 0 || again.Present != r.Objects {
		t.Errorf("again: %+v, %v", again, err)
	}
	if part, err := w.prefetch(session.PrefetchConfig{Image: "/cvmfs/test.example.org/plain/bin/sh", Into: into}); err != nil || part.Fetched != 1 || part.Dir != into {
		t.Errorf("one file: %+v, %v", part, err)
	}
	if _, err := w.prefetch(session.PrefetchConfig{Image: image, Into: into}); err != nil {
		t.Error(err)
	}
	cache, err := cas.OpenCache(cas.CacheConfig{Dir: into, ReadOnly: true})
	if err == nil {
		_, err = cache.Export(t.Context(), archive, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	server.Fail("*", repotest.Fault{Reset: true})
	if f, err := w.find(image, "etc/motd", "big"); err != nil || !strings.HasPrefix(f.Content, "hello\n0123") {
		t.Errorf("without a network: %v", err)
	}
	for _, lower := range []string{into, archive} {
		w := newWorld(t, repos, "")
		t.Setenv("FLATRUN_CACHE_LOWER", lower)
		if f, err := w.find(image, "etc/motd", "big"); err != nil || !strings.HasPrefix(f.Content, "hello\n0123") {
			t.Errorf("without a network, from %s: %v", lower, err)
		}
		w.end()
	}
}

// What the cache cannot take is not there for a node without network, so it is an error.
func TestPrefetchWithoutRoom(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("to root every directory is writable")
	}
	_, _, repos := serve(t)
	w := newWorld(t, repos, "")
	for _, dir := range []string{"txn", "quarantaine"} {
		if err := os.MkdirAll(filepath.Join(w.cache, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(w.cache, 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(w.cache, 0o700) })
	r, err := w.prefetch(session.PrefetchConfig{Image: "registry.example.org/library/tool:1.0"})
	if err == nil || !strings.Contains(err.Error(), "cannot keep") || r.Failed == 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestPrefetchErrors(t *testing.T) {
	_, server, repos := serve(t)
	w := newWorld(t, repos, "network: {patience: 0, max_retries: 0}")
	for image, want := range map[string]string{
		"/cvmfs/test.example.org/plains": "did you mean /cvmfs/test.example.org/plain?",
		"/etc":                           "lies in no repository",
		"./image":                        "lies in no repository",
		"no.such/image:1":                "is not in test.example.org",
		"/cvmfs/nowhere.example.org/x":   "nowhere.example.org",
	} {
		if _, err := w.prefetch(session.PrefetchConfig{Image: image}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", image, err)
		}
	}
	if _, err := w.prefetch(session.PrefetchConfig{Image: "debian:12", Profile: true}); err == nil || !strings.Contains(err.Error(), "no start") {
		t.Errorf("without a profile: %v", err)
	}
	t.Setenv("FLATRUN_CACHE_LIMIT", "10")
	if _, err := w.prefetch(session.PrefetchConfig{Image: "registry.example.org/library/tool:1.0"}); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("a small cache: %v", err)
	}
	t.Setenv("FLATRUN_CACHE_LIMIT", "")

	// What fails is told, and taken up by the next run.
	server.Fail("data/*/*P", repotest.Fault{Status: 500})
	r, err := w.prefetch(session.PrefetchConfig{Image: "registry.example.org/library/tool:1.0"})
	if err == nil || !strings.Contains(err.Error(), "run it again") || r.Failed == 0 {
		t.Errorf("with a broken server: %+v, %v", r, err)
	}
	server.Heal()
	if r, err = w.prefetch(session.PrefetchConfig{Image: "registry.example.org/library/tool:1.0"}); err != nil || r.Fetched+r.Present != r.Objects {
		t.Errorf("healed: %+v, %v", r, err)
	}
	if _, err := os.Stat(w.dir); err == nil {
		t.Error("a session was started")
	}
}
