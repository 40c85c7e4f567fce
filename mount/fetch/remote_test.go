package fetch

import (
	"bytes"
	"compress/zlib"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
)

// warehouse serves compressed objects over HTTP, and whatever a fault makes of them.
type warehouse struct {
	*site
	objects  []cas.Object
	contents [][]byte
	stored   map[string][]byte
}

func newWarehouse(t testing.TB, objects, size int) *warehouse {
	w := &warehouse{stored: make(map[string][]byte)}
	w.site = newSite(t, nil, nil)
	for i := range objects {
		content := bytes.Repeat(noise(size / 2)[i:], 2)
		var b bytes.Buffer
		z := zlib.NewWriter(&b)
		z.Write(content)
		z.Close()
		o := cas.Object{Hash: cas.Sum(cas.SHA1, b.Bytes()), Size: int64(len(content))}
		w.objects, w.contents = append(w.objects, o), append(w.contents, content)
		w.stored["/"+o.Name()] = b.Bytes()
	}
	w.fault = w.serve
	return w
}

func (w *warehouse) serve(_ int, out http.ResponseWriter, r *http.Request) bool {
	http.ServeContent(out, r, "", time.Time{}, bytes.NewReader(w.stored[r.URL.Path]))
	return true
}

func openRemote(t testing.TB, cfg Config) *cas.Remote {
	t.Helper()
	cache, err := cas.OpenCache(cas.CacheConfig{Dir: filepath.Join(t.TempDir(), "cache")})
	if err != nil {
		t.Fatal(err)
	}
	r := &cas.Remote{Cache: cache, Main: newClient(t, cfg)}
	t.Cleanup(r.Close)
	return r
}

func check(r *cas.Remote, o cas.Object, want []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	f, err := r.Open(ctx, o)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := io.ReadAll(f)
	if err == nil && !bytes.Equal(got, want) {
		err = io.ErrNoProgress
	}
	return err
}

// TestRemoteOneRequestPerObject has 200 goroutines open the same objects over a network that works.
func TestRemoteOneRequestPerObject(t *testing.T) {
	w := newWarehouse(t, 20, 40_000)
	r := openRemote(t, Config{Servers: []string{w.URL}})
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			for _, i := range rand.Perm(len(w.objects)) {
				if err := check(r, w.objects[i], w.contents[i]); err != nil {
					t.Errorf("object %d: %v", i, err)
				}
			}
		})
	}
	all.Wait()
	if n := len(w.requests()); n != len(w.objects) {
		t.Errorf("%d requests for %d objects", n, len(w.objects))
	}
}

// TestRemoteFaults opens objects over a network where all goes wrong: the bytes are right in the end.
func TestRemoteFaults(t *testing.T) {
	w := newWarehouse(t, 50, 200_000)
	var faults atomic.Int64
	w.fault = func(n int, out http.ResponseWriter, r *http.Request) bool {
		stored := w.stored[r.URL.Path]
		if rand.N(2) == 0 || r.Header.Get("Range") != "" {
			return w.serve(n, out, r)
		}
		faults.Add(1)
		switch rand.N(5) {
		case 0:
			return status(502)(n, out, r)
		case 1:
			return status(429)(n, out, r)
		case 2:
			s := &site{content: stored}
			return s.cut(rand.N(len(stored)), rand.N(2) == 0)(n, out, r)
		case 3: // a proxy's cache went bad
			if r.Header.Get("Cache-Control") == "" {
				bad := bytes.Clone(stored)
				bad[rand.N(len(bad))] ^= 1
				out.Write(bad)
				return true
			}
		case 4: // an error page under status 200
			if r.Header.Get("Cache-Control") == "" {
				out.Write([]byte("<html>go away</html>"))
				return true
			}
		}
		return w.serve(n, out, r)
	}
	r := openRemote(t, Config{Servers: []string{w.URL}, Patience: patience, MaxRetries: 20})
	var all sync.WaitGroup
	for i := range w.objects {
		all.Go(func() {
			if err := check(r, w.objects[i], w.contents[i]); err != nil {
				t.Errorf("object %d: %v", i, err)
			}
		})
	}
	all.Wait()
	if faults.Load() == 0 {
		t.Error("nothing went wrong")
	}
}

// TestRemoteError names what a user has to know.
func TestRemoteError(t *testing.T) {
	w := newWarehouse(t, 1, 1000)
	w.stored["/"+w.objects[0].Name()] = []byte("damaged")
	r := openRemote(t, Config{Servers: []string{w.URL}})
	err := check(r, w.objects[0], nil)
	if err == nil || !strings.Contains(err.Error(), w.objects[0].Name()) || !strings.Contains(err.Error(), w.host()) {
		t.Errorf("error %v", err)
	}
}

// BenchmarkFetch brings objects over loopback into the cache, 16 at a time.
func BenchmarkFetch(b *testing.B) {
	const size = 64 << 10
	w := newWarehouse(b, 256, size)
	r := openRemote(b, Config{Servers: []string{w.URL}})
	b.SetBytes(size)
	b.SetParallelism(8)
	var next atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			k := int(next.Add(1)) % len(w.objects)
			if k == 0 {
				r.Cache.Clean(context.Background(), 0)
			}
			f, err := r.Open(context.Background(), w.objects[k])
			if err != nil {
				b.Fatal(err)
			}
			f.Close()
		}
	})
}
