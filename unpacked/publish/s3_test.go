package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// fakeS3 is an S3 server in this process. Its records are of what was asked.
type fakeS3 struct {
	*httptest.Server
	mu      sync.Mutex
	headers map[string]http.Header // of PUTs by path
	lose    int                    // how many answers to PUTs get lost
	asked   map[string]int         // how often, by method
}

func newFakeS3(t testing.TB) *fakeS3 {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("bucket"); err != nil {
		t.Fatal(err)
	}
	handler := gofakes3.New(backend, gofakes3.WithGlobalLog(), gofakes3.WithLogger(gofakes3.StdLog(log.New(io.Discard, "", 0)))).Server()
	f := &fakeS3{headers: map[string]http.Header{}, asked: map[string]int{}}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.asked[r.Method]++
		if r.Method == http.MethodPut {
			f.headers[r.URL.Path] = r.Header.Clone()
		}
		f.mu.Unlock()
		handler.ServeHTTP(w, r)
		if r.Method == http.MethodPut && f.loses() {
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(f.Close)
	return f
}

// loses tells whether an answer is to be lost, once for each.
func (f *fakeS3) loses() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lose--
	return f.lose >= 0
}

func (f *fakeS3) open(t testing.TB, prefix string) *S3 {
	t.Helper()
	env := map[string]string{"AWS_ACCESS_KEY_ID": "akakakak", "AWS_SECRET_ACCESS_KEY": "sksksksk", "AWS_ENDPOINT_URL": f.URL}
	c, err := ParseS3("s3://bucket/"+prefix, func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenS3(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStorages runs the same expectations against every kind of storage.
func TestStorages(t *testing.T) {
	dir, err := OpenDirectory(tempDir(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]Storage{"directory": dir, "s3": newFakeS3(t).open(t, "a/repo")} {
		t.Run(name, func(t *testing.T) { testStorage(t, s) })
	}
}

func testStorage(t *testing.T, s Storage) {
	ctx := t.Context()
	put := func(name, data string) {
		t.Helper()
		if err := s.Put(ctx, name, strings.NewReader(data), int64(len(data)), Data); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Get(ctx, "data/ab/missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get of nothing: %v", err)
	}
	if _, ok, err := s.Has(ctx, "data/ab/missing"); ok || err != nil {
		t.Errorf("Has of nothing: %v, %v", ok, err)
	}
	if err := s.Delete(ctx, "data/ab/missing"); err != nil {
		t.Errorf("Delete of nothing: %v", err)
	}
	put("data/ab/c1", "one")
	put("data/ab/c1", "one more time")
	put("data/cd/e2", "")
	put(".cvmfspublished", "head")
	if size, ok, err := s.Has(ctx, "data/ab/c1"); size != 13 || !ok || err != nil {
		t.Errorf("Has: %d, %v, %v", size, ok, err)
	}
	if b, err := readAll(ctx, s, "data/ab/c1", 100); string(b) != "one more time" || err != nil {
		t.Errorf("Get: %q, %v", b, err)
	}
	if _, err := readAll(ctx, s, "data/ab/c1", 12); err == nil {
		t.Error("readAll takes more than its limit")
	}
	var names []string
	for f, err := range s.List(ctx, "data/") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, fmt.Sprint(f.Name, " ", f.Size))
	}
	slices.Sort(names)
	if want := []string{"data/ab/c1 13", "data/cd/e2 0"}; !slices.Equal(names, want) {
		t.Errorf("List: %q, want %q", names, want)
	}
	if err := s.Put(ctx, "data/ab/short", strings.NewReader("abc"), 10, Data); err == nil {
		t.Error("Put of fewer bytes than promised succeeds")
	}
	if _, ok, _ := s.Has(ctx, "data/ab/short"); ok {
		t.Error("half a file is visible")
	}
	if err := s.Delete(ctx, "data/ab/c1"); err != nil {
		t.Error(err)
	}
	if _, ok, _ := s.Has(ctx, "data/ab/c1"); ok {
		t.Error("deleted file is there")
	}
	testLock(t, s)
}

func testLock(t *testing.T, s Storage) {
	t.Helper()
	l, err := s.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Valid(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := s.Lock(t.Context()); !errors.Is(err, ErrLocked) {
		t.Errorf("second lock: %v", err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if l, err = s.Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
}

// TestLockRace lets many ask at once: one gets the lock.
func TestLockRace(t *testing.T) {
	dir, err := OpenDirectory(tempDir(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]Storage{"directory": dir, "s3": newFakeS3(t).open(t, "repo")} {
		var wg sync.WaitGroup
		got := make(chan Lease, 10)
		for range 10 {
			wg.Go(func() {
				l, err := s.Lock(context.Background())
				if err == nil {
					got <- l
				} else if !errors.Is(err, ErrLocked) {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		wg.Wait()
		if len(got) != 1 {
			t.Errorf("%s: %d of 10 have the lock", name, len(got))
		}
		for range len(got) {
			(<-got).Release()
		}
	}
}

func TestS3Headers(t *testing.T) {
	f := newFakeS3(t)
	s := f.open(t, "repo")
	for name, kind := range map[string]Kind{"data/ab/cd": Data, ".cvmfspublished": Final, ".cvmfsreflog": Head} {
		if err := s.Put(t.Context(), name, strings.NewReader("x"), 1, kind); err != nil {
			t.Fatal(err)
		}
		h := f.headers["/bucket/repo/"+name]
		want := "max-age=61 application/x-cvmfs"
		if kind == Data {
			want = "max-age=259200 application/octet-stream"
		}
		if got := h.Get("Cache-Control") + " " + h.Get("Content-Type"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestS3Multipart(t *testing.T) {
	s := newFakeS3(t).open(t, "repo")
	data := bytes.Repeat([]byte("0123456789abcdef"), 20<<16) // 20 MiB
	if err := s.Put(t.Context(), "data/ab/large", bytes.NewReader(data), int64(len(data)), Data); err != nil {
		t.Fatal(err)
	}
	got, err := readAll(t.Context(), s, "data/ab/large", 1<<30)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestS3Errors(t *testing.T) {
	f := newFakeS3(t)
	s := f.open(t, "repo")
	s.c.Bucket = "nosuchbucket"
	err := s.Put(t.Context(), "data/ab/cd", strings.NewReader("x"), 1, Data)
	if err == nil || !strings.Contains(err.Error(), "nosuchbucket") {
		t.Errorf("missing bucket: %v", err)
	}
	for _, location := range []string{"s3://", "http://x/y", "s3://key:secret@bucket/x", "s3://%zz"} {
		if _, err := ParseS3(location, func(string) string { return "" }); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("ParseS3(%q): %v", location, err)
		}
	}
	if _, err := OpenS3(S3Config{Endpoint: "example.org", Bucket: "b"}); err == nil {
		t.Error("an endpoint without scheme is taken")
	}
}

// TestPublishToS3 is the whole way on an object store.
func TestPublishToS3(t *testing.T) {
	f := newFakeS3(t)
	r := &testRepo{t: t, s: f.open(t, "cvmfs/"+testFQRN), keys: testKeys(), o: Options{FQRN: testFQRN, Scratch: tempDir(t)}}
	if _, err := Init(t.Context(), r.s, InitOptions{Options: r.o, Keys: r.keys}); err != nil {
		t.Fatal(err)
	}
	tree := map[string]file{"/a": dirOf(3), "/a/b": dirOf(2), "/a/b/.cvmfscatalog": text(""), "/a/b/c": text("c"), "/a/d": link("b/c")}
	r.publish(func(tx *Tx) error { return tx.Replace("/a", tx.items(t, tree)) })
	r.publish(func(tx *Tx) error { return tx.PutFile("/e", 0o600, strings.NewReader("e")) })
	got := r.read("")
	want := maps.Clone(tree)
	want[""], want["/e"] = got[""], got["/e"]
	equalTrees(t, got, want)
	r.check()
	r.later(10 * 24 * time.Hour)
	r.gc(GCOptions{KeepFor: -1})
	equalTrees(t, r.read(""), want)
	r.check()
}
