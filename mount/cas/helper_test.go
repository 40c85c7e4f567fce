package cas

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// patience bounds what tests wait for; nothing depends on how soon it happens.
const patience = 60 * time.Second

// depot is a directory of stored objects, as a web server would have it, with faults to order.
type depot struct {
	Dir
	mu      sync.Mutex
	fetches map[string]int
	seen    []Request
	// fault may change an answer; n counts the requests from 1.
	fault func(n int, r Request, body io.ReadCloser, err error) (io.ReadCloser, error)
}

func newDepot(t testing.TB) *depot {
	return &depot{Dir: Dir(t.TempDir()), fetches: make(map[string]int)}
}

func (d *depot) Fetch(ctx context.Context, r Request) (io.ReadCloser, error) {
	body, err := d.Dir.Fetch(ctx, r)
	d.mu.Lock()
	d.fetches[r.Name]++
	d.seen = append(d.seen, r)
	n, fault := len(d.seen), d.fault
	d.mu.Unlock()
	if fault != nil {
		return fault(n, r, body, err)
	}
	return body, err
}

func (d *depot) requests() []Request {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Request(nil), d.seen...)
}

// put stores content and returns its object.
func (d *depot) put(t testing.TB, content []byte, a Algorithm, c Compression) Object {
	t.Helper()
	stored := content
	if c == Zlib {
		stored = deflated(content)
	}
	o := Object{Hash: Sum(a, stored), Compression: c, Size: int64(len(content))}
	d.write(t, o.Name(), stored)
	return o
}

func (d *depot) write(t testing.TB, name string, b []byte) {
	t.Helper()
	path := filepath.Join(string(d.Dir), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func deflated(b []byte) []byte {
	var buf bytes.Buffer
	w := zlib.NewWriter(&buf)
	w.Write(b)
	w.Close()
	return buf.Bytes()
}

// text returns n bytes that compress somewhat and differ by seed.
func text(n int, seed byte) []byte {
	b := make([]byte, n+8)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	for i := 0; i < n; i += 8 { // letters a to p
		x := binary.LittleEndian.Uint64(b[i:])
		binary.LittleEndian.PutUint64(b[i:], x&0x0f0f0f0f0f0f0f0f+0x6161616161616161)
	}
	return b[:n]
}

func newCache(t testing.TB, limit int64) *Cache {
	t.Helper()
	c := openCache(t, CacheConfig{Dir: filepath.Join(t.TempDir(), "cache"), Limit: limit})
	if err := c.makeHashDirs(); err != nil {
		t.Fatal(err)
	}
	return c
}

func openCache(t testing.TB, cfg CacheConfig) *Cache {
	t.Helper()
	c, err := OpenCache(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newRemote has r closed before the directories of the test are removed.
func newRemote(t testing.TB, r *Remote) *Remote {
	t.Cleanup(r.Close)
	return r
}

// wantContent opens o and reads all of it.
func wantContent(t testing.TB, s Store, o Object, want []byte) {
	t.Helper()
	if err := readBack(s, o, want); err != nil {
		t.Fatal(err)
	}
}

func readBack(s Store, o Object, want []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	f, err := s.Open(ctx, o)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errors.New("the bytes differ")
	}
	return nil
}

// eventually polls until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// txnEmpty fails if anything was left in txn/.
func txnEmpty(t testing.TB, c *Cache) {
	t.Helper()
	left, err := os.ReadDir(filepath.Join(c.Dir(), txnDir))
	if err != nil || len(left) > 0 {
		t.Errorf("txn holds %v, error %v", left, err)
	}
}
