package fusefs

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/mount/repotest"
)

// patience is how long tests wait for what must happen soon, on machines that do ten other things.
const patience = time.Minute

// needFUSE skips the test where an ordinary user cannot mount.
func needFUSE(t testing.TB) {
	t.Helper()
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no FUSE here:", err)
	}
	f.Close()
	if _, err := exec.LookPath("fusermount3"); err != nil {
		t.Skip("fusermount3 is not installed:", err)
	}
}

// mounted is a file system at dir, until the test ends.
type mounted struct {
	*FS
	dir string
}

// mountConfig opens and mounts a repository.
func mountConfig(t testing.TB, cfg repo.Config, change func(*Config)) *mounted {
	t.Helper()
	return mountRepo(t, repotest.Open(t, cfg), cfg, change)
}

func mountRepo(t testing.TB, r *repo.Repository, cfg repo.Config, change func(*Config)) *mounted {
	t.Helper()
	needFUSE(t)
	config := Config{Repo: r, Store: cfg.Store, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Log: testLog(t)}
	if change != nil {
		change(&config)
	}
	fs, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	m := &mounted{fs, t.TempDir()}
	if _, err := fs.MountHelper(m.dir); err != nil {
		t.Fatal(err)
	}
	refusePoll(t, m.dir) // tests open files of a mount that their own process serves
	t.Cleanup(func() { m.end(t) })
	return m
}

// end unmounts, lazily where something still uses the mount, so that no test leaves one behind. It does not wait for the
// server's end: a mount namespace that another test made meanwhile may have a copy of the mount.
func (m *mounted) end(t testing.TB) {
	over := after(patience)
	for err := m.Unmount(); err != nil; err = m.Unmount() {
		if over() {
			t.Error(err)
			exec.Command("fusermount3", "-u", "-z", m.dir).Run()
			break
		}
	}
	m.Close()
}

func (m *mounted) path(name string) string { return filepath.Join(m.dir, name) }

// testLog shows the server's complaints where the test fails.
func testLog(t testing.TB) *slog.Logger {
	w := &testWriter{t: t}
	t.Cleanup(w.end)
	return slog.New(slog.NewTextHandler(w, nil))
}

// testWriter writes to the test's log until the test ends: the server may have a last word after.
type testWriter struct {
	mu   sync.Mutex
	t    testing.TB
	over bool
}

func (w *testWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

func (w *testWriter) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
}

// after answers a function that naps and tells whether the time is over.
func after(d time.Duration) func() bool {
	end := time.Now().Add(d)
	return func() bool {
		time.Sleep(10 * time.Millisecond)
		return time.Now().After(end)
	}
}

// skipUnderRace leaves out what looks at thousands of entries: SQLite is Go code here, and a hundred times slower when each
// of its memory accesses is watched. Smaller tests go the same ways.
func skipUnderRace(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("takes minutes under the race detector")
	}
}
