package cas

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// store puts content into a cache by way of a fetch, and returns its object.
func store(t testing.TB, c *Cache, content []byte, pinned bool) Object {
	t.Helper()
	d := newDepot(t)
	o := d.put(t, content, SHA1, Zlib)
	o.Pinned = pinned
	wantContent(t, newRemote(t, &Remote{Cache: c, Main: d}), o, content)
	return o
}

// setUsed makes an object look last used some time ago.
func setUsed(t testing.TB, c *Cache, h Hash, ago time.Duration) {
	t.Helper()
	when := time.Now().Add(-ago)
	if err := os.Chtimes(c.path(h), when, when); err != nil {
		t.Fatal(err)
	}
}

// TestLayout is the official client's: names, permissions, decompressed content.
func TestLayout(t *testing.T) {
	c := newCache(t, 0)
	d := newDepot(t)
	content := text(1000, 1)
	for _, a := range []Algorithm{SHA1, RMD160, SHAKE128} {
		o := d.put(t, content, a, Zlib)
		o.Suffix = CatalogSuffix
		d.write(t, o.Name(), deflated(content))
		wantContent(t, newRemote(t, &Remote{Cache: c, Main: d}), o, content)
		name := o.Hash.String()
		path := filepath.Join(c.Dir(), name[:2], name[2:])
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes, error %v", path, len(got), err)
		}
		if st, err := os.Stat(path); err != nil || st.Mode() != 0o600 {
			t.Errorf("%s: %v, error %v", path, st.Mode(), err)
		}
	}
	for _, dir := range []string{"", "00", "7f", "ff", txnDir, "quarantaine"} {
		if st, err := os.Stat(filepath.Join(c.Dir(), dir)); err != nil || st.Mode() != fs.ModeDir|0o700 {
			t.Errorf("directory %q: %v", dir, err)
		}
	}
	txnEmpty(t, c)
}

// TestDirectoriesCome makes sure that a new cache is not waited for, and that ff comes last, as other clients ask for it alone.
func TestDirectoriesCome(t *testing.T) {
	c := openCache(t, CacheConfig{Dir: filepath.Join(t.TempDir(), "cache")})
	has := func(dir string) bool {
		_, err := os.Stat(filepath.Join(c.Dir(), dir))
		return err == nil
	}
	put := func(first byte) {
		t.Helper()
		h, err := NewHash(SHA1, append([]byte{first}, make([]byte, 19)...))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Put(Object{Hash: h, Size: 1}, []byte("x")); err != nil {
			t.Error(err)
		}
	}
	put(0xab)
	if !has("ab") || has("00") || has("ff") {
		t.Error("more or less was made than was needed")
	}
	put(0xff)
	if !has("ff") || !has("00") || !has("fe") {
		t.Error("ff came without the others")
	}
	c = openCache(t, CacheConfig{Dir: filepath.Join(t.TempDir(), "cache"), Shared: true})
	if !has("00") || !has("ff") {
		t.Error("a shared cache is not complete")
	}
}

// TestForeignObject opens what another client has written, and looks at nothing else.
func TestForeignObject(t *testing.T) {
	c := newCache(t, 0)
	h := Sum(SHA1, []byte("stored form"))
	if err := os.WriteFile(c.path(h), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, junk := range []string{"cachedb", "cvmfschecksum.x", "ab/xyz", "ab/" + strings.Repeat("0", 38) + "C", "txn/fetchABC"} {
		if err := os.WriteFile(filepath.Join(c.Dir(), junk), []byte("junk"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := c.Open(h)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, _ := io.ReadAll(f); string(got) != "content" {
		t.Errorf("%q", got)
	}
	if _, err := f.WriteString("x"); err == nil {
		t.Error("the file can be written")
	}
	os.Remove(filepath.Join(c.Dir(), usageFile)) // which the others do not keep
	if n, objects, err := c.Usage(); n != 7 || objects != 1 || err != nil {
		t.Errorf("%d bytes in %d objects, error %v", n, objects, err)
	}
	if _, err := c.Open(Sum(SHA1, nil)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if _, err := c.Open(Hash{}); err == nil {
		t.Error("the zero hash was opened")
	}
}

// TestTruncatedObject finds what a crash of the machine leaves: a short file under a good name.
func TestTruncatedObject(t *testing.T) {
	c, d := newCache(t, 0), newDepot(t)
	content := text(100_000, 1)
	o := d.put(t, content, SHA1, Zlib)
	r := newRemote(t, &Remote{Cache: c, Main: d})
	for _, size := range []int64{0, 1, 99_999, 200_000} {
		wantContent(t, r, o, content)
		if err := os.Truncate(c.path(o.Hash), size); err != nil {
			t.Fatal(err)
		}
		if r.Has(o) {
			t.Errorf("%d bytes count as the object", size)
		}
		wantContent(t, r, o, content)
	}
	if n := len(d.requests()); n != 5 {
		t.Errorf("%d fetches, want 5", n)
	}
	if n, objects, _ := c.Usage(); n != 100_000 || objects != 1 {
		t.Errorf("%d bytes in %d objects", n, objects)
	}
}

func TestReadOnlyCache(t *testing.T) {
	rw := newCache(t, 0)
	content := text(1000, 1)
	o := store(t, rw, content, false)
	before := tree(t, rw.Dir())
	c := openCache(t, CacheConfig{Dir: rw.Dir(), ReadOnly: true, Limit: 1})
	wantContent(t, c.Store(), o, content)
	d := newDepot(t)
	other := d.put(t, text(1000, 2), SHA1, Zlib)
	r := newRemote(t, &Remote{Cache: c, Main: d})
	wantContent(t, r, other, text(1000, 2))
	wantContent(t, r, o, content)
	wrong := o
	wrong.Size++ // would be removed from another
	if _, err := c.open(wrong); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if err := c.Clean(t.Context(), 0); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("clean: error %v", err)
	}
	if err := c.SetBreadcrumb("a.b", Breadcrumb{Root: o.Hash}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("breadcrumb: error %v", err)
	}
	if after := tree(t, rw.Dir()); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	if _, err := OpenCache(CacheConfig{Dir: filepath.Join(t.TempDir(), "absent"), ReadOnly: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: error %v", err)
	}
}

// tree lists all that is in a directory, with modes and times.
func tree(t *testing.T, dir string) string {
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, st fs.FileInfo, err error) error {
		if err == nil && !st.IsDir() {
			fmt.Fprintln(&b, path, st.Mode(), st.Size(), st.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestSharedCache(t *testing.T) {
	c := openCache(t, CacheConfig{Dir: filepath.Join(t.TempDir(), "alien"), Shared: true, Limit: 10})
	o := store(t, c, text(1000, 1), false)
	st, err := os.Stat(c.path(o.Hash))
	if err != nil || st.Mode() != 0o660 {
		t.Errorf("%v, error %v", st.Mode(), err)
	}
	for _, name := range []string{"", txnDir, "00", "ff"} { // whatever the umask is
		if st, err := os.Stat(filepath.Join(c.Dir(), name)); err != nil || st.Mode().Perm() != 0o770 {
			t.Errorf("directory %q: %v, error %v", name, st.Mode(), err)
		}
	}
	for _, name := range []string{usageFile, lockFile} {
		if _, err := os.Stat(filepath.Join(c.Dir(), name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n, _, err := c.Usage(); n != 1000 || err != nil {
		t.Errorf("%d bytes, error %v", n, err)
	}
	if err := c.Clean(t.Context(), 0); err != nil {
		t.Error(err)
	}
}

func TestOpenCacheErrors(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may write everywhere")
	}
	closed := t.TempDir()
	os.Chmod(closed, 0o500)
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o600)
	for _, dir := range []string{"", closed, filepath.Join(closed, "x"), file, "/proc/x"} {
		if _, err := OpenCache(CacheConfig{Dir: dir}); err == nil || !strings.Contains(err.Error(), "cache") {
			t.Errorf("%q: error %v", dir, err)
		}
	}
}

// TestClockSetBack: a use that seems to lie in the future is no reason to keep an object for ever, nor to forget those since.
func TestClockSetBack(t *testing.T) {
	c := newCache(t, 0)
	o := store(t, c, text(1000, 1), false)
	tomorrow := time.Now().AddDate(0, 0, 1)
	if err := os.Chtimes(c.path(o.Hash), tomorrow, tomorrow); err != nil {
		t.Fatal(err)
	}
	f, err := c.Open(o.Hash)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := c.List(t.Context(), func(e Entry) error {
		if e.Used.After(time.Now().Add(time.Minute)) {
			t.Errorf("last used %s", e.Used)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// TestEviction removes the least recently used first and pinned objects last.
func TestEviction(t *testing.T) {
	c := newCache(t, 0)
	var objects []Object
	for i := range 6 {
		o := store(t, c, text(1000, byte(i)), i < 2)
		setUsed(t, c, o.Hash, time.Duration(10-i)*time.Hour)
		objects = append(objects, o)
	}
	f, err := c.Open(objects[2].Hash) // the oldest that is not pinned is used again
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	held := func() (s string) {
		for i, o := range objects {
			if c.has(o) {
				s += fmt.Sprint(i)
			}
		}
		return s
	}
	for _, tc := range []struct {
		target int64
		want   string
	}{{6000, "012345"}, {5999, "01245"}, {4000, "0125"}, {3000, "012"}, {2000, "01"}, {1500, "1"}, {0, ""}} {
		if err := c.Clean(t.Context(), tc.target); err != nil {
			t.Fatal(err)
		}
		if got := held(); got != tc.want {
			t.Errorf("cleaned to %d: holds %q, want %q", tc.target, got, tc.want)
		}
		if n, k, err := c.Usage(); n != int64(len(tc.want))*1000 || k != int64(len(tc.want)) || err != nil {
			t.Errorf("cleaned to %d: %d bytes in %d objects, error %v", tc.target, n, k, err)
		}
	}
}

// TestPin pins an object that came unpinned, or from another client.
func TestPin(t *testing.T) {
	c := newCache(t, 0)
	o := store(t, c, text(1000, 1), false)
	o.Pinned = true
	wantContent(t, c.Store(), o, text(1000, 1))
	err := c.List(t.Context(), func(e Entry) error {
		if e.Hash != o.Hash || !e.Pinned || e.Size != 1000 || time.Since(e.Created) > time.Hour || time.Since(e.Used) > time.Hour {
			return fmt.Errorf("%+v", e)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestQuota keeps a cache below its limit while many objects pass through, by two who share the directory.
func TestQuota(t *testing.T) {
	const limit = 200_000
	a := newCache(t, limit)
	b := openCache(t, a.cfg)
	d := newDepot(t)
	var objects []Object
	for i := range 100 {
		objects = append(objects, d.put(t, text(10_000, byte(i)), SHA1, Zlib))
	}
	var all sync.WaitGroup
	for _, c := range []*Cache{a, b} {
		r := newRemote(t, &Remote{Cache: c, Main: d})
		all.Go(func() {
			for i, o := range objects {
				if err := readBack(r, o, text(10_000, byte(i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	count := func() (n int64) {
		if err := a.List(t.Context(), func(e Entry) error { n += e.Size; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	// The last one may be at work still.
	eventually(t, "the cache is within its limit", func() bool {
		a.enforce(t.Context())
		return count() <= limit
	})
	if count() == 0 {
		t.Error("nothing is left")
	}
	txnEmpty(t, a)
}

// TestTooLarge serves objects that the cache could never hold.
func TestTooLarge(t *testing.T) {
	c, d := newCache(t, 50_000), newDepot(t)
	small := store(t, c, text(10_000, 1), false)
	large := d.put(t, text(60_000, 2), SHA1, Zlib)
	r := newRemote(t, &Remote{Cache: c, Main: d})
	for range 3 {
		wantContent(t, r, large, text(60_000, 2))
		large.Size = -1 // found without it, too
	}
	surprise := d.put(t, text(60_000, 3), SHA1, Zlib)
	surprise.Size = -1
	wantContent(t, r, surprise, text(60_000, 3))
	if c.has(large) || !c.has(small) || !r.Has(large) || c.has(surprise) || len(d.requests()) != 2 {
		t.Errorf("large cached: %v, small cached: %v, %d fetches", c.has(large), c.has(small), len(d.requests()))
	}
	if st := r.Stats(); st.Uncached != 2 || st.Objects != 2 || st.Hits != 2 {
		t.Errorf("%+v", st)
	}
	r.Close()
	if r.Has(large) {
		t.Error("it is held after Close")
	}
}

// TestDrift counts anew when the estimate is lost, old or nonsense.
func TestDrift(t *testing.T) {
	c := newCache(t, 0)
	store(t, c, text(1000, 1), false)
	path := filepath.Join(c.Dir(), usageFile)
	old := fmt.Sprintf("%d %d %d", 5, 5, time.Now().Add(-48*time.Hour).Unix())
	future := fmt.Sprintf("%d %d %d", 5, 5, time.Now().Add(48*time.Hour).Unix())
	for _, estimate := range []string{"", "nonsense", "1 2", old, future, strings.Repeat("9", 200)} {
		if err := os.WriteFile(path, []byte(estimate), 0o600); err != nil {
			t.Fatal(err)
		}
		if n, k, err := c.Usage(); n != 1000 || k != 1 || err != nil {
			t.Errorf("estimate %q: %d bytes in %d objects, error %v", estimate, n, k, err)
		}
		if n, k, err := c.Usage(); n != 1000 || k != 1 || err != nil {
			t.Errorf("estimate %q, again: %d bytes in %d objects, error %v", estimate, n, k, err)
		}
	}
}

// TestCleanWaits waits for another cleaner, and no longer than the caller wants.
func TestCleanWaits(t *testing.T) {
	c := newCache(t, 0)
	o := store(t, c, text(1000, 1), false)
	lock, err := c.lock()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := c.Clean(ctx, 0); !errors.Is(err, context.DeadlineExceeded) || !c.has(o) {
		t.Errorf("error %v", err)
	}
	done := make(chan error)
	go func() { done <- c.Clean(t.Context(), 0) }()
	lock.Close()
	if err := <-done; err != nil || c.has(o) {
		t.Errorf("error %v", err)
	}
}

// TestStaleFiles removes what killed processes have left, and nothing that is in use or not ours.
func TestStaleFiles(t *testing.T) {
	c := newCache(t, 0)
	live, err := c.createTemp()
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	names := map[string]bool{live.Name(): true}
	for name, stays := range map[string]bool{"flatrun-dead": false, "fetchXYZ": true} {
		path := filepath.Join(c.Dir(), txnDir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		names[path] = stays
	}
	hour := time.Now().Add(-time.Hour)
	for name := range names {
		if err := os.Chtimes(name, hour, hour); err != nil {
			t.Fatal(err)
		}
	}
	young := filepath.Join(c.Dir(), txnDir, "flatrun-young")
	os.WriteFile(young, nil, 0o600)
	names[young] = true
	openCache(t, c.cfg)
	for name, stays := range names {
		if _, err := os.Stat(name); (err == nil) != stays {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerify(t *testing.T) {
	c := newCache(t, 0)
	good := store(t, c, text(1000, 1), false)
	bad := store(t, c, text(1000, 2), true)
	foreign := Sum(SHA1, []byte("x"))
	os.WriteFile(c.path(foreign), []byte("content"), 0o600)
	plain := Sum(RMD160, []byte("plain"))
	os.WriteFile(c.path(plain), []byte("plain"), 0o600)

	var none [8]byte
	_, err := unix.Getxattr(c.path(good.Hash), checksumName, none[:0])
	if err != nil {
		t.Skipf("the file system of %s takes no extended attributes: %v", c.Dir(), err)
	}
	os.Chmod(c.path(bad.Hash), 0o600)
	f, err := os.OpenFile(c.path(bad.Hash), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte("X"), 500)
	f.Close()
	setUsed(t, c, good.Hash, time.Hour)

	r, err := c.Verify(t.Context(), true, nil)
	if err != nil || r.Good != 2 || r.Unchecked != 1 || len(r.Corrupt) != 1 || r.Corrupt[0] != bad.Hash {
		t.Errorf("%+v, error %v", r, err)
	}
	if _, err := os.Stat(filepath.Join(c.Dir(), quarantineDir, bad.Hash.String())); err != nil || c.has(bad) {
		t.Errorf("the corrupt object is still there, or not kept: %v", err)
	}
	if n, err := c.ClearQuarantine(); err != nil || n != 1 || exists(filepath.Join(c.Dir(), quarantineDir, bad.Hash.String())) {
		t.Errorf("%d objects left quarantine, %v", n, err)
	}
	c.List(t.Context(), func(e Entry) error {
		if e.Hash == good.Hash && time.Since(e.Used) < time.Minute {
			t.Error("verifying counted as a use")
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Verify(ctx, true, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestBreadcrumb(t *testing.T) {
	c := newCache(t, 0)
	if _, err := c.Breadcrumb("a.example.org"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	for _, a := range []Algorithm{SHA1, SHAKE128} {
		want := Breadcrumb{Sum(a, nil), 1700000000, 42}
		if err := c.SetBreadcrumb("a.example.org", want); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Breadcrumb("a.example.org"); err != nil || got != want {
			t.Errorf("%v, error %v", got, err)
		}
	}
	text, err := os.ReadFile(filepath.Join(c.Dir(), "cvmfschecksum.a.example.org"))
	if want := "7f9c2ba4e88f827d616045507605853ed73b8093-shake128T1700000000R42"; string(text) != want || err != nil {
		t.Errorf("%q, error %v", text, err)
	}
	old := "da39a3ee5e6b4b0d3255bfef95601890afd80709T1700000000"
	if b, err := parseBreadcrumb(old + "\n"); err != nil || b.Timestamp != 1700000000 || b.Revision != 0 {
		t.Errorf("%v, error %v", b, err)
	}
	for _, s := range []string{"", "T", "xT1", old[:40], old[:41], old + "R", old + "Rx", old + "R-1", old + "x", old + "R1R2"} {
		if b, err := parseBreadcrumb(s); err == nil {
			t.Errorf("%q gave %v", s, b)
		}
	}
	for _, name := range []string{"", "a/b", "../x", "a\x00"} {
		if err := c.SetBreadcrumb(name, Breadcrumb{}); err == nil {
			t.Errorf("%q was accepted", name)
		}
	}
	txnEmpty(t, c)
}

func FuzzBreadcrumb(f *testing.F) {
	f.Add("da39a3ee5e6b4b0d3255bfef95601890afd80709T1R2")
	f.Fuzz(func(t *testing.T, s string) {
		b, err := parseBreadcrumb(s)
		if err != nil {
			return
		}
		if again, err := parseBreadcrumb(b.String()); err != nil || again != b {
			t.Fatalf("%q: %v reads back as %v, error %v", s, b, again, err)
		}
	})
}
