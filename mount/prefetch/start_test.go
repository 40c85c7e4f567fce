package prefetch_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/fusefs"
	"github.com/flatrun/flatrun/mount/prefetch"
	"github.com/flatrun/flatrun/mount/repotest"
)

// distant is a source of files behind a wide-area network: every file comes a round trip late, all of them share the
// bandwidth.
type distant struct {
	cas.Fetcher
	roundTrip time.Duration
	rate      float64 // bytes per second
	requests  atomic.Int64
	bytes     atomic.Int64

	mu   sync.Mutex
	free time.Time // when the line has carried what was sent so far
}

func (d *distant) Fetch(ctx context.Context, r cas.Request) (io.ReadCloser, error) {
	d.requests.Add(1)
	time.Sleep(d.roundTrip)
	body, err := d.Fetcher.Fetch(ctx, r)
	if err != nil {
		return nil, err
	}
	return &far{body, d}, nil
}

type far struct {
	io.ReadCloser
	d *distant
}

func (f *far) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p[:min(len(p), 16<<10)])
	f.d.bytes.Add(int64(n))
	f.d.mu.Lock()
	if now := time.Now(); f.d.free.Before(now) {
		f.d.free = now
	}
	f.d.free = f.d.free.Add(time.Duration(float64(n) / f.d.rate * float64(time.Second)))
	wait := time.Until(f.d.free)
	f.d.mu.Unlock()
	time.Sleep(wait)
	return n, err
}

const benchImage = "/.flat/ab/abcdef0123456789"

// start runs a command in the image of the bench repository, with a cold cache and the kernel knowing nothing, and tells
// how many reads had to wait.
func start(t *testing.T, dir, key string, change func(*prefetch.Config), before func(*prefetch.Prefetcher), command ...string) (waited int64, p *prefetch.Prefetcher) {
	t.Helper()
	from := &distant{Fetcher: cas.Dir(dir), roundTrip: 30 * time.Millisecond, rate: 100e6 / 8}
	cfg := repotest.ConfigFrom(t, "bench.example.org", from, t.TempDir(), key)
	r := repotest.Open(t, cfg)
	remote := cfg.Store.(*cas.Remote)
	config := prefetch.Config{Store: remote, Has: remote.Has, Revision: r.Head}
	change(&config)
	p = prefetch.New(config)
	t.Cleanup(p.Close)
	var count atomic.Int64
	fs, err := fusefs.New(fusefs.Config{Repo: r, Store: remote, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()),
		OnRead: func(a fusefs.Access) func() {
			if !remote.Has(a.Objects[a.Index]) {
				count.Add(1)
			}
			return p.Reading(a.Path, a.Objects, a.Index)
		}})
	if err != nil {
		t.Fatal(err)
	}
	mount := t.TempDir()
	if _, err := fs.MountHelper(mount); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			err := fs.Unmount()
			if err == nil {
				break
			}
			if time.Now().After(end) {
				t.Error(err)
				exec.Command("fusermount3", "-u", "-z", mount).Run()
				break
			}
		}
		fs.Close()
	})
	began := time.Now()
	if before != nil {
		before(p)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env, cmd.Dir = []string{"PATH=/usr/bin"}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, Chroot: filepath.Join(mount, benchImage),
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Skip("no user namespaces here:", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%d reads waited, %d requests, %.1f MB, %v; %+v", count.Load(), from.requests.Load(), float64(from.bytes.Load())/1e6,
		time.Since(began).Round(time.Millisecond), p.Stats())
	return count.Load(), p
}

// TestColdStart starts a program behind a slow network: guesses spare it most of the waits, a profile nearly all.
func TestColdStart(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("takes a while, and minutes under the race detector")
	}
	needFUSE(t)
	dir, key := repotest.Official(t, "bench.example.org")
	command := []string{"/usr/bin/python3", "-c", "import numpy"}
	off := func(c *prefetch.Config) { c.NoLibraries, c.NoReadAhead, c.NoSiblings = true, true, true }
	on := func(*prefetch.Config) {}
	var recording *prefetch.Recording
	plain, _ := start(t, dir, key, off, func(p *prefetch.Prefetcher) { recording = p.Record(benchImage) }, command...)
	profile := recording.Stop()
	guessed, _ := start(t, dir, key, on, func(p *prefetch.Prefetcher) { p.Start(benchImage, command[0]) }, command...)
	replayed, _ := start(t, dir, key, off, func(p *prefetch.Prefetcher) { p.Replay(profile) }, command...)
	if plain < 50 {
		t.Fatalf("without help only %d reads waited: the cache is not cold", plain)
	}
	if guessed > plain*3/4 {
		t.Errorf("%d of %d reads waited in spite of guesses", guessed, plain)
	}
	if int64(len(profile.Objects)) < plain {
		t.Errorf("%d reads waited, but %d objects were recorded", plain, len(profile.Objects))
	}
	t.Logf("waits: %d, with guesses %d, with a profile of %d objects %d", plain, guessed, len(profile.Objects), replayed)
}

func needFUSE(t *testing.T) {
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
