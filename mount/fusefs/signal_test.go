package fusefs

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/repotest"
)

// gate is a source of files that stalls on some of them.
type gate struct {
	cas.Fetcher
	mu      sync.Mutex
	pattern string // of names that stall, see path.Match; "" for none
	opened  chan struct{}
	stalled int // requests that stall now
	fetched map[string]int
}

func newGate(from cas.Fetcher) *gate { return &gate{Fetcher: from, fetched: map[string]int{}} }

// shut makes requests for matching names stall until open.
func (g *gate) shut(pattern string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pattern, g.opened = pattern, make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pattern != "" {
		g.pattern = ""
		close(g.opened)
	}
}

func (g *gate) waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stalled
}

func (g *gate) Fetch(ctx context.Context, r cas.Request) (io.ReadCloser, error) {
	g.mu.Lock()
	g.fetched[r.Name]++
	match, _ := path.Match(g.pattern, r.Name)
	opened := g.opened
	if match {
		g.stalled++
	}
	g.mu.Unlock()
	if match {
		defer func() {
			g.mu.Lock()
			g.stalled--
			g.mu.Unlock()
		}()
		select {
		case <-opened:
		case <-ctx.Done():
			return nil, fmt.Errorf("fetch %s: %w", r.Name, context.Cause(ctx))
		}
	}
	return g.Fetcher.Fetch(ctx, r)
}

func stallingRepo(t *testing.T) *repotest.Repo {
	return repotest.Build(t, repotest.Spec{Tree: []repotest.File{
		{Path: "/file", Content: strings.Repeat("all of it\n", 100_000)},
		{Path: "/nested", Kind: repotest.Dir, Nested: true}, {Path: "/nested/name", Content: "x"},
	}})
}

// stalledMount is a mount whose file and nested catalog do not come until the gate opens.
func stalledMount(t *testing.T, r *repotest.Repo) (*mounted, *gate) {
	g := newGate(cas.Dir(r.Dir))
	m := mountConfig(t, r.ConfigFrom(t, g), nil)
	t.Cleanup(g.open) // before the unmount, which comes first in reverse order
	g.shut("data/*/*")
	return m, g
}

// TestKilled makes sure that a process that waits for a dead server ends when it is told to.
func TestKilled(t *testing.T) {
	r := stallingRepo(t)
	for _, command := range [][]string{{"cat", "file"}, {"stat", "nested/name"}, {"ls", "nested"}} {
		for _, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT} {
			t.Run(fmt.Sprint(command[0], " ", unix.SignalName(s)), func(t *testing.T) {
				m, g := stalledMount(t, r)
				cmd := exec.Command(command[0], m.path(command[1]))
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				until(t, "the request stalls", func() bool { return g.waiting() > 0 })
				cmd.Process.Signal(s)
				ended := make(chan error, 1)
				go func() { ended <- cmd.Wait() }()
				select {
				case err := <-ended:
					if err == nil {
						t.Error("it succeeded without its data")
					}
				case <-time.After(patience):
					g.open()
					t.Fatalf("it still hangs: %v", <-ended)
				}
				if command[0] != "cat" { // the kernel's own read-ahead goes on
					until(t, "the fetch that nobody waits for ends", func() bool { return g.waiting() == 0 })
				}
				g.open()
				if b, err := os.ReadFile(m.path("file")); err != nil || len(b) != 1_000_000 {
					t.Errorf("afterwards the file has %d bytes, %v", len(b), err)
				}
				if b, err := os.ReadFile(m.path("nested/name")); err != nil || string(b) != "x" {
					t.Errorf("afterwards the name reads %q, %v", b, err)
				}
			})
		}
	}
}

// TestHarmlessSignals makes sure that signals which programs handle in passing do not break their system calls, and that a
// kill after them still works.
func TestHarmlessSignals(t *testing.T) {
	r := stallingRepo(t)
	pester := func(t *testing.T, name string, g *gate) *exec.Cmd {
		cmd := exec.Command("/proc/self/exe", name)
		cmd.Env = append(os.Environ(), roleVariable+"=patient")
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill() })
		var thread int
		if _, err := fmt.Fscan(out, &thread); err != nil {
			t.Fatal(err)
		}
		until(t, "the request stalls", func() bool { return g.waiting() > 0 })
		for range 20 {
			if err := unix.Tgkill(cmd.Process.Pid, thread, syscall.SIGWINCH); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond) // signals of one kind merge
		}
		return cmd
	}
	t.Run("are waited out", func(t *testing.T) {
		m, g := stalledMount(t, r)
		cmd := pester(t, m.path("nested/name"), g)
		g.open()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	t.Run("and then a kill", func(t *testing.T) {
		m, g := stalledMount(t, r)
		cmd := pester(t, m.path("nested/name"), g)
		cmd.Process.Kill()
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case <-ended:
		case <-time.After(patience):
			g.open()
			t.Fatal("the kill is not noticed", <-ended)
		}
	})
}

func init() {
	roles["patient"] = func(args []string) error {
		got := make(chan os.Signal, 100)
		signal.Notify(got, syscall.SIGWINCH)
		runtime.LockOSThread()
		fmt.Println(unix.Gettid())
		var st unix.Stat_t
		return unix.Stat(args[0], &st) // the bare call: os.Stat would try again
	}
}

// until waits for something that happens soon.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for over := after(patience); !done(); {
		if over() {
			t.Fatalf("in vain for %s: %s", patience, what)
		}
	}
}

// TestTimeout makes sure that a request without an answer ends by itself, with the reason kept.
func TestTimeout(t *testing.T) {
	r := repotest.Build(t, repotest.Spec{Tree: []repotest.File{{Path: "/file", Content: "content"}}})
	g := newGate(cas.Dir(r.Dir))
	m := mountConfig(t, r.ConfigFrom(t, g), func(c *Config) { c.Timeout = 50 * time.Millisecond })
	t.Cleanup(g.open)
	g.shut("data/*/*")
	if _, err := hashFile(m.path("file")); err != syscall.EIO {
		t.Errorf("got %v, want EIO", err)
	}
	f := m.Failures()
	if len(f) == 0 || f[0].Op != "READ" || f[0].Path != "/file" || !strings.Contains(f[0].Err, "no answer within 50ms") {
		t.Errorf("the failure is noted as %+v", f)
	}
}

// TestOnRead tells of each object that a read has to open, and of its arrival.
func TestOnRead(t *testing.T) {
	content := strings.Repeat("a", 300) + strings.Repeat("b", 300) + strings.Repeat("c", 300) + strings.Repeat("d", 100)
	r := repotest.Build(t, repotest.Spec{Tree: []repotest.File{{Path: "/dir/file", Content: content, Chunk: 300}}})
	var mu sync.Mutex
	var seen []string
	note := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprintf(format, args...))
	}
	m := mountConfig(t, r.Config(t), func(c *Config) {
		c.OnRead = func(a Access) func() {
			note("%s %d of %d", a.Path(), a.Index, len(a.Objects))
			return func() { note("done") }
		}
	})
	for range 2 {
		if b, err := os.ReadFile(m.path("dir/file")); err != nil || string(b) != content {
			t.Fatalf("reads %d bytes, %v", len(b), err)
		}
	}
	want := []string{"/dir/file 0 of 4", "done", "/dir/file 1 of 4", "done", "/dir/file 2 of 4", "done", "/dir/file 3 of 4", "done"}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(seen, want) {
		t.Errorf("told %q, want %q", seen, want)
	}
}

// TestKilledAtCatalog takes an open catalog and its copy in the cache away: who waits for it to come again can still leave.
func TestKilledAtCatalog(t *testing.T) {
	tree := []repotest.File{{Path: "/file", Content: "x"}}
	for i := range 30 { // more than connections are kept
		dir := fmt.Sprintf("/nested%d", i)
		tree = append(tree, repotest.File{Path: dir, Kind: repotest.Dir, Nested: true}, repotest.File{Path: dir + "/name", Content: dir})
	}
	r := repotest.Build(t, repotest.Spec{Tree: tree})
	g := newGate(cas.Dir(r.Dir))
	cfg := r.ConfigFrom(t, g)
	m := mountConfig(t, cfg, nil)
	t.Cleanup(g.open)
	for i := range 30 {
		if _, err := os.Lstat(m.path(fmt.Sprintf("nested%d/name", i))); err != nil {
			t.Fatal(err)
		}
	}
	cached, err := filepath.Glob(filepath.Join(cfg.Cache.Dir(), "??", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range cached {
		os.Remove(path)
	}
	g.shut("data/*/*")
	cmd := exec.Command("stat", m.path("nested0/other"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the request stalls", func() bool { return g.waiting() > 0 })
	cmd.Process.Kill()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-ended:
	case <-time.After(patience):
		g.open()
		t.Fatalf("it still hangs: %v", <-ended)
	}
	g.open()
	if b, err := os.ReadFile(m.path("nested0/name")); err != nil || string(b) != "/nested0" {
		t.Errorf("afterwards the file reads %q, %v", b, err)
	}
}
