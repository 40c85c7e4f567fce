package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	streamRepo  = "stream.example.org"
	streamSize  = 1 << 30
	streamTurns = 3
	crowd       = 64
)

// benchStream reads one large file through a cold cache, against curl and zlib on the same objects, and then starts many
// containers at once on a cold node.
func benchStream(f *fixture) error {
	if err := streamFile(f); err != nil {
		return err
	}
	return streamCrowd(f)
}

// streamFile compares the two ways on loopback, in turn. Neither writes anything but what it has to: flatrun its cache,
// which is removed before each turn, and the other way nothing.
func streamFile(f *fixture) error {
	key, err := f.publishStream()
	if err != nil {
		return err
	}
	log := &nameLog{next: f.meter.next}
	f.meter.next = log
	defer func() { f.meter.next = log.next }()
	dir := filepath.Join(f.dir, "stream")
	config := filepath.Join(f.dir, "stream.yaml")
	text := fmt.Sprintf(configText, streamRepo, f.host, f.port, key, streamRepo, filepath.Join(dir, "cache"), "1s")
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return err
	}
	var ours, theirs []time.Duration
	for range streamTurns {
		log.reset()
		took, err := f.readCold(config, dir)
		if err != nil {
			return err
		}
		ours = append(ours, took)
		if took, err = f.curlObjects(log.objects()); err != nil {
			return err
		}
		theirs = append(theirs, took)
	}
	rate := func(d time.Duration) float64 { return float64(streamSize) / 1e6 / d.Seconds() }
	fmt.Printf("read 1 GiB through a cold cache on loopback, %d turns: medians and best\n", streamTurns)
	for _, v := range []struct {
		name  string
		times []time.Duration
	}{{"curl | zlib", theirs}, {"flatrun", ours}} {
		fmt.Printf("%-12s %6.0f MB/s  best %6.0f MB/s  x %.2f of curl | zlib (best x %.2f)\n", v.name, rate(median(v.times)), rate(slices.Min(v.times)),
			ratio(median(theirs), median(v.times)), ratio(slices.Min(theirs), slices.Min(v.times)))
	}
	return nil
}

// publishStream makes a repository with one file that compresses to about a half.
func (f *fixture) publishStream() (key string, err error) {
	tree := filepath.Join(f.dir, "stream-tree")
	if err := os.MkdirAll(tree, 0o755); err != nil {
		return "", err
	}
	defer os.RemoveAll(tree)
	if err := writeStream(filepath.Join(tree, "large")); err != nil {
		return "", err
	}
	hub := filepath.Join(f.dir, "stream-hub")
	defer os.Setenv("FLATHUB_CONFIG", os.Getenv("FLATHUB_CONFIG"))
	if err := os.Setenv("FLATHUB_CONFIG", hub); err != nil {
		return "", err
	}
	flathub := filepath.Join(f.bin, "flathub")
	if err := command(flathub, "init", streamRepo, "--storage", filepath.Join(f.storage, streamRepo)).run(); err != nil {
		return "", err
	}
	key = filepath.Join(hub, "keys", streamRepo+".pub")
	return key, command(flathub, "publish", streamRepo, "--from", tree, "--to", "/data").run()
}

// writeStream writes random letters from a to p.
func writeStream(path string) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	w := bufio.NewWriterSize(out, 1<<20)
	random, block := rand.NewChaCha8([32]byte{1}), make([]byte, 1<<16)
	for range streamSize / len(block) {
		random.Read(block)
		for i := 0; i < len(block); i += 8 {
			binary.LittleEndian.PutUint64(block[i:], binary.LittleEndian.Uint64(block[i:])&0x0f0f0f0f0f0f0f0f+0x6161616161616161)
		}
		if _, err := w.Write(block); err != nil {
			return err
		}
	}
	return errors.Join(w.Flush(), out.Close())
}

// readCold mounts with an empty cache and reads the file, like cat.
func (f *fixture) readCold(config, dir string) (took time.Duration, err error) {
	mnt := filepath.Join(dir, "mnt")
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, "cache")), os.MkdirAll(mnt, 0o755)); err != nil {
		return 0, err
	}
	flatrun := filepath.Join(f.bin, "flatrun")
	if err := command(flatrun, "--config", config, "mount", streamRepo, mnt).run(); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, command(flatrun, "umount", mnt).run()) }()
	start := time.Now()
	in, err := os.Open(filepath.Join(mnt, "data/large"))
	if err != nil {
		return 0, err
	}
	defer in.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{in}, make([]byte, 128<<10))
	if err == nil && n != streamSize {
		err = fmt.Errorf("read %d bytes of %d", n, streamSize)
	}
	return time.Since(start), err
}

// inflate decompresses zlib streams that follow each other, with the C library.
const inflate = `
import sys, zlib
n, d = 0, zlib.decompressobj()
while b := sys.stdin.buffer.read(1 << 20):
    while b:
        n += len(d.decompress(b))
        b = b''
        if d.eof:
            b, d = d.unused_data, zlib.decompressobj()
print(n)
`

// curlObjects fetches the objects one after the other over one connection, and decompresses them in a second process.
func (f *fixture) curlObjects(names []string) (time.Duration, error) {
	list := filepath.Join(f.dir, "urls")
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "url = http://%s:%s%s\n", f.host, f.port, name)
	}
	if err := os.WriteFile(list, []byte(b.String()), 0o644); err != nil {
		return 0, err
	}
	start := time.Now()
	out, err := exec.Command("sh", "-c", `curl -sf -K "$1" | python3 -c "$2"`, "sh", list, inflate).Output()
	took := time.Since(start)
	if err != nil {
		return 0, fmt.Errorf("curl | zlib: %w", err)
	}
	if got := strings.TrimSpace(string(out)); got != fmt.Sprint(streamSize) {
		return 0, fmt.Errorf("curl | zlib gave %s bytes of %d", got, streamSize)
	}
	return took, nil
}

// nameLog notes the names of requested objects.
type nameLog struct {
	next  http.Handler
	mu    sync.Mutex
	names []string
}

func (l *nameLog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	l.names = append(l.names, r.URL.Path)
	l.mu.Unlock()
	l.next.ServeHTTP(w, r)
}

func (l *nameLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names = nil
}

// objects are those of files: pieces of them end in P, catalogs and their like in other letters.
func (l *nameLog) objects() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, name := range l.names {
		if strings.Contains(name, "/data/") && !strings.ContainsAny(name[len(name)-1:], "CXHM") {
			all = append(all, name)
		}
	}
	return all
}

// streamCrowd starts one container on a cold node, and then many at once on another.
func streamCrowd(f *fixture) error {
	var one, many int64
	for _, n := range []int{1, crowd} {
		requests, bytes, took, err := f.startCold(n)
		if err != nil {
			return err
		}
		if one == 0 {
			one = requests
		}
		many = requests
		fmt.Printf("%2d cold starts of import numpy at once: %4d requests, %5.1f MB, %.2f s\n", n, requests, float64(bytes)/1e6, took.Seconds())
	}
	fmt.Printf("requests of %d are x %.2f of those of one\n", crowd, float64(many)/float64(one))
	return nil
}

// startCold starts n containers at the same time, in one session with an empty cache.
func (f *fixture) startCold(n int) (requests, bytes int64, took time.Duration, err error) {
	dir, err := os.MkdirTemp(f.dir, "crowd")
	if err != nil {
		return 0, 0, 0, err
	}
	defer os.RemoveAll(dir)
	config := filepath.Join(dir, "config.yaml")
	text := fmt.Sprintf(configText, f.repo, f.host, f.port, f.key, f.repo, filepath.Join(dir, "cache"), "2s")
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return 0, 0, 0, err
	}
	f.meter.reset()
	start := time.Now()
	failed := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			failed[i] = command(filepath.Join(f.bin, "flatrun"), "--config", config, "exec", "cvmfs://"+f.repo+"/"+f.image,
				"python3", "-c", "import numpy").run()
		})
	}
	all.Wait()
	return f.meter.requests.Load(), f.meter.bytes.Load(), time.Since(start), errors.Join(failed...)
}
