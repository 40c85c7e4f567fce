package cas

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// roleVariable makes the test binary play another part: see TestMain.
const roleVariable = "CAS_TEST_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) == "writer" {
		if err := writeForEver(os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

const crashObjects = 50

func crashContent(i int) []byte { return text(20_000, byte(i)) }

// writeForEver fetches and evicts until it is killed, and says when it has begun.
func writeForEver(cache, depot string) error {
	c, err := OpenCache(CacheConfig{Dir: cache, Limit: 200_000})
	if err != nil {
		return err
	}
	r := &Remote{Cache: c, Main: Dir(depot)}
	var objects []Object
	for i := range crashObjects {
		objects = append(objects, Object{Hash: Sum(SHA1, deflated(crashContent(i))), Size: 20_000})
	}
	for n := 0; ; n++ {
		if err := readBack(r, objects[n%crashObjects], crashContent(n%crashObjects)); err != nil {
			return err
		}
		if n == 20 {
			fmt.Println("busy")
		}
	}
}

// TestKilled kills processes that write: what they leave is right, and their rubbish is found.
func TestKilled(t *testing.T) {
	d := newDepot(t)
	objects := make(map[Hash][]byte)
	for i := range crashObjects {
		objects[d.put(t, crashContent(i), SHA1, Zlib).Hash] = crashContent(i)
	}
	dir := filepath.Join(t.TempDir(), "cache")
	for range 3 {
		var children []*exec.Cmd
		for range 2 {
			cmd := exec.Command(os.Args[0], dir, string(d.Dir))
			cmd.Env = append(os.Environ(), roleVariable+"=writer")
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { cmd.Process.Kill(); cmd.Wait() }()
			children = append(children, cmd)
			if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
				t.Fatalf("%q, error %v", line, err)
			}
		}
		for _, cmd := range children {
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
	c := openCache(t, CacheConfig{Dir: dir, Limit: 200_000})
	n := 0
	err := c.List(t.Context(), func(e Entry) error {
		n++
		return readBack(c.Store(), Object{Hash: e.Hash, Size: -1}, objects[e.Hash])
	})
	if err != nil || n == 0 {
		t.Errorf("%d objects, error %v", n, err)
	}
	left, _ := filepath.Glob(filepath.Join(dir, txnDir, "*"))
	for _, name := range left {
		hour := time.Now().Add(-time.Hour)
		os.Chtimes(name, hour, hour)
	}
	if err := c.Clean(t.Context(), 100_000); err != nil {
		t.Error(err)
	}
	if used, _, err := c.Usage(); used > 100_000 || err != nil {
		t.Errorf("%d bytes after cleaning, error %v", used, err)
	}
	txnEmpty(t, c)
}

// TestFullDisk runs itself in a namespace where the cache is on a file system of one megabyte.
func TestFullDisk(t *testing.T) {
	if os.Getenv(roleVariable) == "full disk" {
		testFullDisk(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
	cmd.Env = append(os.Environ(), roleVariable+"=full disk")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Skipf("no user namespaces here: %v", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func testFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("no tmpfs in a user namespace: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	d := newDepot(t)
	c := openCache(t, CacheConfig{Dir: dir, Limit: 1 << 30})
	r := newRemote(t, &Remote{Cache: c, Main: d})
	var objects []Object
	for i := range 8 {
		o := d.put(t, text(300_000, byte(i)), SHA1, Zlib)
		if i%2 == 1 {
			o.Size = -1
		}
		objects = append(objects, o)
	}
	for range 2 {
		for i, o := range objects {
			wantContent(t, r, o, text(300_000, byte(i)))
		}
	}
	if st := r.Stats(); st.Uncached == 0 || st.Errors != 0 {
		t.Errorf("%+v", st)
	}
	// Others fill the disk to the last byte: even then.
	fill, err := os.Create(filepath.Join(dir, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(fill, zeros{}); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	large := d.put(t, text(400_000, 99), SHA1, Zlib)
	wantContent(t, r, large, text(400_000, 99))
	r.running.Wait() // for the room that is made meanwhile
	fill.Close()
	os.Remove(fill.Name())
	if err := c.Clean(context.Background(), 0); err != nil {
		t.Fatal(err)
	}
	last := d.put(t, text(300_000, 100), SHA1, Zlib)
	wantContent(t, r, last, text(300_000, 100))
	if !c.has(last) {
		t.Error("there is room again, and the cache is not used")
	}
	txnEmpty(t, c)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
