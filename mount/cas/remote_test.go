package cas

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestStores holds every kind of Store to the interface.
func TestStores(t *testing.T) {
	content := text(300_000, 1)
	d := newDepot(t)
	o := d.put(t, content, SHAKE128, Zlib)
	full := newCache(t, 0)
	wantContent(t, newRemote(t, &Remote{Cache: full, Main: d}), o, content)
	readOnly := openCache(t, CacheConfig{Dir: full.Dir(), ReadOnly: true})
	for name, s := range map[string]Store{
		"cache":                         full.Store(),
		"read-only cache":               readOnly.Store(),
		"remote":                        newRemote(t, &Remote{Cache: newCache(t, 0), Main: d}),
		"remote, shared cache":          newRemote(t, &Remote{Cache: openCache(t, CacheConfig{Dir: t.TempDir(), Shared: true}), Main: d}),
		"remote without a cache":        newRemote(t, &Remote{Main: d}),
		"remote, read-only cache":       newRemote(t, &Remote{Cache: openCache(t, CacheConfig{Dir: t.TempDir(), ReadOnly: true}), Main: d}),
		"remote above a read-only tier": newRemote(t, &Remote{Cache: newCache(t, 0), Lower: readOnly.Store()}),
	} {
		t.Run(name, func(t *testing.T) { testStore(t, s, o, content) })
	}
}

// TestRead answers verified bytes that are not kept.
func TestRead(t *testing.T) {
	content := text(300_000, 1)
	d := newDepot(t)
	o := d.put(t, content, SHA1, None)
	s := newRemote(t, &Remote{Cache: newCache(t, 0), Main: d})
	for _, size := range []int64{o.Size, -1} {
		o.Size = size
		if got, err := s.Read(t.Context(), o); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	if s.Has(o) {
		t.Error("it is kept")
	}
	wantContent(t, s, o, content)
	s.Main = Dir(t.TempDir())
	if got, err := s.Read(t.Context(), o); err != nil || !bytes.Equal(got, content) {
		t.Errorf("what is here: %d bytes, %v", len(got), err)
	}
	if _, err := s.Read(t.Context(), Object{Hash: Sum(SHA1, []byte("absent")), Size: 6}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent object: %v", err)
	}
}

func testStore(t *testing.T, s Store, o Object, content []byte) {
	for range 3 {
		wantContent(t, s, o, content)
	}
	a, err := s.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := s.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	io.CopyN(io.Discard, a, 1000)
	if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, content) {
		t.Errorf("two files share an offset, or %v", err)
	}
	if _, err := a.WriteAt([]byte("x"), 0); err == nil {
		t.Error("the file can be written")
	}
	again, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", a.Fd())) // as SQLite opens catalogs
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got, err := io.ReadAll(again); err != nil || !bytes.Equal(got, content) {
		t.Errorf("opened through /proc: %v", err)
	}
	absent := Object{Hash: Sum(SHA1, []byte("absent")), Size: 5}
	if _, err := s.Open(t.Context(), absent); err == nil {
		t.Error("an absent object was opened")
	}
	if _, err := s.Open(t.Context(), Object{}); err == nil {
		t.Error("an object without a hash was opened")
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := readBack(s, o, content); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// TestOneFetchPerObject has 200 goroutines open 20 objects through two Remotes with caches in one directory.
func TestOneFetchPerObject(t *testing.T) {
	d := newDepot(t)
	var objects []Object
	var contents [][]byte
	for i := range 20 {
		contents = append(contents, text(5000, byte(i)))
		objects = append(objects, d.put(t, contents[i], SHA1, Zlib))
	}
	shared := newCache(t, 0)
	for _, caches := range [][]*Cache{{newCache(t, 0)}, {shared, openCache(t, shared.cfg)}} {
		d.mu.Lock()
		clear(d.fetches)
		d.mu.Unlock()
		var remotes []*Remote
		for _, c := range caches {
			remotes = append(remotes, newRemote(t, &Remote{Cache: c, Main: d}))
		}
		var all sync.WaitGroup
		for g := range 200 {
			all.Go(func() {
				for _, i := range rand.Perm(len(objects)) {
					if err := readBack(remotes[g%len(remotes)], objects[i], contents[i]); err != nil {
						t.Errorf("object %d: %v", i, err)
					}
				}
			})
		}
		all.Wait()
		for name, n := range d.fetches {
			if n > len(remotes) {
				t.Errorf("%d Remotes: %s was fetched %d times", len(remotes), name, n)
			}
		}
		var n int64
		for _, r := range remotes {
			n += r.Stats().Objects
		}
		if _, k, err := caches[0].Usage(); k != 20 || err != nil || n < 20 {
			t.Errorf("%d objects in the cache, %d fetched, error %v", k, n, err)
		}
		txnEmpty(t, caches[0])
	}
}

// gate lets bodies through only when it is opened, and tells when they were asked for and when they were given up.
type gate struct {
	depot     *depot
	entered   chan Request
	open      chan struct{}
	abandoned chan error
}

func newGate(d *depot) *gate {
	return &gate{d, make(chan Request, 100), make(chan struct{}), make(chan error, 100)}
}

func (g *gate) Fetch(ctx context.Context, r Request) (io.ReadCloser, error) {
	g.entered <- r
	select {
	case <-g.open:
		return g.depot.Fetch(ctx, r)
	case <-ctx.Done():
		g.abandoned <- ctx.Err()
		return nil, ctx.Err()
	}
}

// TestLeave has waiters leave: the others get their object, and the last one out ends the fetch.
func TestLeave(t *testing.T) {
	d := newDepot(t)
	content := text(1000, 1)
	o := d.put(t, content, SHA1, Zlib)
	g := newGate(d)
	r := newRemote(t, &Remote{Cache: newCache(t, 0), Main: g})
	open := func(ctx context.Context) chan error {
		done := make(chan error, 1)
		go func() {
			f, err := r.Open(ctx, o)
			if err == nil {
				f.Close()
			}
			done <- err
		}()
		return done
	}
	waiters := func(n int) func() bool {
		return func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, fl := range r.flights {
				return fl.waiters == n
			}
			return n == 0
		}
	}
	ctx, leave := context.WithCancel(t.Context())
	first := open(ctx)
	<-g.entered
	second := open(t.Context())
	eventually(t, "two wait", waiters(2))
	leave()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	eventually(t, "one waits", waiters(1))
	close(g.open)
	if err := <-second; err != nil {
		t.Errorf("error %v", err)
	}
	if len(g.entered) != 0 {
		t.Error("it was fetched twice")
	}

	g = newGate(d)
	r = newRemote(t, &Remote{Cache: newCache(t, 0), Main: g})
	ctx, leave = context.WithCancel(t.Context())
	first, second = open(ctx), open(ctx)
	<-g.entered
	leave()
	for _, done := range []chan error{first, second} {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	}
	if err := <-g.abandoned; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	close(g.open)
	wantContent(t, r, o, content) // as if nothing had happened
	if st := r.Stats(); st.Errors != 0 || st.InFlight != 0 {
		t.Errorf("%+v", st)
	}
	if _, err := r.Open(ctx, Object{Hash: Sum(SHA1, nil)}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: error %v", err)
	}
	r.running.Wait()
	txnEmpty(t, r.Cache)
}

// TestCorruptNeverCached feeds damaged objects: each ends in an error, and nothing of it is found later.
func TestCorruptNeverCached(t *testing.T) {
	d := newDepot(t)
	content := text(50_000, 1)
	o := d.put(t, content, SHA1, Zlib)
	stored, _ := os.ReadFile(filepath.Join(string(d.Dir), o.Name()))
	r := newRemote(t, &Remote{Cache: newCache(t, 0), Main: d})
	flipped := bytes.Clone(stored)
	flipped[len(flipped)/2] ^= 4
	for name, bad := range map[string][]byte{
		"flipped": flipped, "cut": stored[:len(stored)-1], "empty": {}, "longer": append(bytes.Clone(stored), 0),
		"another object": deflated(text(50_000, 2)), "error page": []byte("<html>404 not found</html>"),
	} {
		d.write(t, o.Name(), bad)
		for range 2 {
			f, err := r.Open(t.Context(), o)
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), o.Name()) {
				t.Errorf("%s: %v, error %v", name, f, err)
			}
		}
		if r.Has(o) {
			t.Errorf("%s: it is in the cache", name)
		}
	}
	if st := r.Stats(); st.Errors != 12 || st.Objects != 0 {
		t.Errorf("%+v", st)
	}
	d.write(t, o.Name(), stored)
	wantContent(t, r, o, content)
	os.Remove(filepath.Join(string(d.Dir), o.Name()))
	wantContent(t, r, o, content)
	txnEmpty(t, r.Cache)
	if _, err := r.Open(t.Context(), Object{Hash: Sum(SHA1, []byte("absent"))}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: error %v", err)
	}
}

// TestExternal fetches files and chunks of them by their path from elsewhere, verified like all.
func TestExternal(t *testing.T) {
	content := text(100_000, 1)
	ext := newDepot(t)
	ext.write(t, "dir/file name", content)
	r := newRemote(t, &Remote{Cache: newCache(t, 0), Main: newDepot(t), External: ext})
	whole := Object{Hash: Sum(SHA1, content), Compression: None, Size: 100_000, External: "/dir/file name"}
	wantContent(t, r, whole, content)
	for _, offset := range []int64{0, 30_000, 70_000} {
		part := content[offset : offset+30_000]
		o := Object{Hash: Sum(SHA1, part), Suffix: PartialSuffix, Compression: None, Size: 30_000, External: whole.External, Offset: offset}
		wantContent(t, r, o, part)
	}
	if got := ext.requests()[2]; got != (Request{Name: "/dir/file name", Offset: 30_000, Length: 30_000}) {
		t.Errorf("%+v", got)
	}
	wrong := Object{Hash: Sum(SHA1, content[1:30_001]), Suffix: PartialSuffix, Compression: None, Size: 30_000, External: whole.External, Offset: 2}
	if _, err := r.Open(t.Context(), wrong); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "/dir/file name") {
		t.Errorf("error %v", err)
	}
	r.External = nil
	if _, err := r.Open(t.Context(), wrong); err == nil || errors.Is(err, ErrCorrupt) {
		t.Errorf("no external servers: error %v", err)
	}
}

// TestSameStoredBytes tells an object from another one whose stored form is the same, for the names do not.
func TestSameStoredBytes(t *testing.T) {
	d := newDepot(t)
	content := text(10_000, 1)
	packed := d.put(t, content, SHA1, Zlib)
	plain := packed
	plain.Compression, plain.Size = None, int64(len(deflated(content)))
	r := newRemote(t, &Remote{Cache: newCache(t, 0), Main: d})
	for range 2 {
		wantContent(t, r, packed, content)
		wantContent(t, r, plain, deflated(content))
	}
}

// TestLowerTier asks the tier before the network, and the network when the tier is broken.
func TestLowerTier(t *testing.T) {
	lower := newCache(t, 0)
	content := text(1000, 1)
	o := store(t, lower, content, false)
	d := newDepot(t)
	r := newRemote(t, &Remote{Cache: newCache(t, 0), Main: d, Lower: openCache(t, CacheConfig{Dir: lower.Dir(), ReadOnly: true}).Store()})
	wantContent(t, r, o, content)
	if st := r.Stats(); len(d.requests()) != 0 || st.LowerHits != 1 || r.Has(o) {
		t.Errorf("%d fetches, %+v", len(d.requests()), st)
	}
	os.Truncate(lower.path(o.Hash), 10)
	d.put(t, content, SHA1, Zlib)
	wantContent(t, r, o, content)
	if len(d.requests()) != 1 {
		t.Errorf("%d fetches", len(d.requests()))
	}
}

// TestCacheRemoved goes on when somebody removes the cache, or parts of it.
func TestCacheRemoved(t *testing.T) {
	d := newDepot(t)
	content := text(10_000, 1)
	o := d.put(t, content, SHA1, Zlib)
	c := newCache(t, 1<<20)
	r := newRemote(t, &Remote{Cache: c, Main: d})
	for _, part := range []string{"", txnDir, o.Hash.String()[:2], "ff", usageFile} {
		wantContent(t, r, o, content)
		r.running.Wait()
		if err := os.RemoveAll(filepath.Join(c.Dir(), part)); err != nil {
			t.Fatal(err)
		}
		wantContent(t, r, o, content)
		if !c.has(o) {
			t.Errorf("%q removed: the cache was not used again", part)
		}
	}
	if st := r.Stats(); st.Uncached != 0 || st.Errors != 0 {
		t.Errorf("%+v", st)
	}
}

// TestCacheReadOnlyMeanwhile serves when the cache can no longer be written.
func TestCacheReadOnlyMeanwhile(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may write everywhere")
	}
	d := newDepot(t)
	content := text(10_000, 1)
	o := d.put(t, content, SHA1, Zlib)
	c := newCache(t, 0)
	r := newRemote(t, &Remote{Cache: c, Main: d})
	for _, dir := range []string{txnDir, o.Hash.String()[:2]} {
		os.Chmod(filepath.Join(c.Dir(), dir), 0o500)
		wantContent(t, r, o, content)
		wantContent(t, r, o, content)
		os.Chmod(filepath.Join(c.Dir(), dir), 0o700)
		r.Close()
	}
	if st := r.Stats(); st.Uncached != 2 || st.Hits != 2 {
		t.Errorf("%+v", st)
	}
	txnEmpty(t, c)
}

// TestLooseBound keeps only so much of what the cache cannot take.
func TestLooseBound(t *testing.T) {
	d := newDepot(t)
	r := newRemote(t, &Remote{Main: d})
	var objects []Object
	for i := range looseFiles + 10 {
		content := []byte(fmt.Sprint("object ", i))
		o := d.put(t, content, SHA1, None)
		wantContent(t, r, o, content)
		objects = append(objects, o)
	}
	n := 0
	for _, o := range objects {
		if r.Has(o) {
			n++
		}
	}
	if n != looseFiles || !r.Has(objects[len(objects)-1]) || r.Has(objects[0]) {
		t.Errorf("%d objects are held, want %d", n, looseFiles)
	}
	r.loose.add(flightKey{objects[0].Hash, None}, r.loose.files[0].file, looseBytes+1)
	if len(r.loose.files) != 0 || r.loose.bytes != 0 {
		t.Errorf("%d files with %d bytes are held", len(r.loose.files), r.loose.bytes)
	}
	r.Close()
}
