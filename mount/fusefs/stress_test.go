package fusefs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/flatrun/flatrun/mount/repotest"
)

// TestUpdatesUnderReaders publishes revisions while readers walk: each file they read is whole and of one revision, and
// once the last revision is there, all is as published.
func TestUpdatesUnderReaders(t *testing.T) {
	dirs, readerCount, last := 4, 2, 4
	if raceEnabled {
		dirs, last = 2, 2
	}
	tree := func(rev int) (files []repotest.File) {
		for d := range dirs {
			dir := fmt.Sprintf("/dir%d", d)
			files = append(files, repotest.File{Path: dir, Kind: repotest.Dir, Nested: d%2 == 0})
			for f := range 10 {
				age := rev
				if f%3 == 0 { // some never change
					age = 0
				}
				text := fmt.Sprintf("%s/%d of revision %d\n", dir, f, age)
				file := repotest.File{Path: fmt.Sprintf("%s/%d", dir, f), Content: strings.Repeat(text, 500), Mtime: int64(age + 1)}
				if f%2 == 0 {
					file.Chunk = 4000
				}
				files = append(files, file)
			}
			files = append(files, repotest.File{Path: fmt.Sprintf("%s/only%d", dir, rev), Content: "x"})
		}
		return files
	}
	r := repotest.Build(t, repotest.Spec{Tree: tree(0)})
	m := mountConfig(t, r.Config(t), nil)
	// What stays the same is written anew at each publication, in place: have it in the cache by then.
	if err := readAll(m.dir); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range readerCount {
		readers.Go(func() {
			for ctx.Err() == nil {
				if err := readAll(m.dir); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for rev := range last {
		r.Publish(t, repotest.Rev{Tree: tree(rev + 1)})
		m.follow(t)
	}
	stop()
	readers.Wait()
	for _, f := range tree(last) {
		if f.Kind == repotest.Dir {
			continue
		}
		if got, err := os.ReadFile(m.dir + f.Path); err != nil || string(got) != f.Content {
			t.Errorf("%s: %.40q, %v", f.Path, got, err)
		}
		only := fmt.Sprintf("%s/only%d", filepath.Dir(m.dir+f.Path), last-1)
		if _, err := os.Lstat(only); err == nil {
			t.Errorf("%s is still there", only)
		}
	}
	// A directory may vanish from under a reader; nothing else may fail.
	for _, f := range m.Failures() {
		t.Errorf("failed: %+v", f)
	}
}

// readAll reads all files below root and complains of any that is not of one piece.
func readAll(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESTALE) {
			return nil // of an earlier revision
		}
		if err != nil {
			return err
		}
		text := string(b)
		first, _, _ := strings.Cut(text, "\n")
		if text != "x" && text != strings.Repeat(first+"\n", 500) {
			return fmt.Errorf("%s is mixed: %.200q", path, text)
		}
		return nil
	})
}

// TestMemory serves a large repository from a process of its own, whose memory stays small however much the kernel knows.
func TestMemory(t *testing.T) {
	needFUSE(t)
	count := 50_000
	if testing.Short() || raceEnabled {
		count = 5_000
	}
	var tree []repotest.File
	for i := range count {
		dir := fmt.Sprintf("/%03d", i/500)
		if i%500 == 0 {
			tree = append(tree, repotest.File{Path: dir, Kind: repotest.Dir, Nested: i%5000 == 0})
		}
		tree = append(tree, repotest.File{Path: fmt.Sprintf("%s/sub%02d/some-longer-name-%d.py", dir, i%500/25, i), Kind: repotest.Link, Content: "x"})
	}
	r := repotest.Build(t, repotest.Spec{Tree: tree})
	dir := t.TempDir()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestServe$", "-test.v")
	cmd.Env = append(os.Environ(), serveVariable+"="+strings.Join([]string{r.FQRN, r.Dir, r.KeyPath, dir}, ":"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
		t.Log(lines.Text())
	}
	if n := walk(t, dir); n < count {
		t.Errorf("the walk saw %d of %d entries", n, count)
	}
	peak, now := memory(t, cmd.Process.Pid, "VmHWM"), memory(t, cmd.Process.Pid, "VmRSS")
	t.Logf("%d entries known: resident %d kB, at most %d kB", count, now, peak)
	if peak > 100<<10 && !raceEnabled {
		t.Errorf("the server took %d kB", peak)
	}
	in.Close()
	for lines.Scan() {
		t.Log(lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

func memory(t *testing.T, pid int, key string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); f[0] == key+":" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s in the status of %d", key, pid)
	return 0
}

const serveVariable = "FLATRUN_FUSEFS_SERVE"

// TestServe is the server of TestMemory.
func TestServe(t *testing.T) {
	args := strings.Split(os.Getenv(serveVariable), ":")
	if len(args) != 4 {
		return // called by TestMemory only
	}
	cfg := repotest.Config(t, args[0], args[1], args[2])
	fs, err := New(Config{Repo: repotest.Open(t, cfg), Store: cfg.Store, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fs.MountHelper(args[3]); err != nil {
		t.Fatal(err)
	}
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadString('\n')
	(&mounted{fs, args[3]}).end(t)
}
