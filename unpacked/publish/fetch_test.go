package publish

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zlib"

	"github.com/flatrun/flatrun/mount/cas"
)

func deflated(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	_, err := w.Write(data)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestCopyObject(t *testing.T) {
	dir, err := OpenDirectory(tempDir(t))
	if err != nil {
		t.Fatal(err)
	}
	plain := []byte(strings.Repeat("plain ", 1000))
	packed := deflated(t, plain)
	trailing := append(bytes.Clone(packed), "more"...)
	for _, c := range []struct {
		name    string
		stored  []byte
		o       cas.Object
		corrupt bool
	}{
		{name: "zlib", stored: packed, o: cas.Object{Size: 6000}},
		{name: "zlib, size unknown", stored: packed, o: cas.Object{Size: -1}},
		{name: "plain", stored: plain, o: cas.Object{Size: 6000, Compression: cas.None}},
		{name: "shorter than promised", stored: packed, o: cas.Object{Size: 6001}, corrupt: true},
		{name: "longer than promised", stored: packed, o: cas.Object{Size: 5999}, corrupt: true},
		{name: "bytes behind the stream", stored: trailing, o: cas.Object{Size: 6000}, corrupt: true},
		{name: "no stream", stored: plain, o: cas.Object{Size: 6000}, corrupt: true},
		{name: "cut", stored: packed[:len(packed)-5], o: cas.Object{Size: 6000}, corrupt: true},
		{name: "a bomb", stored: deflated(t, make([]byte, 10<<20)), o: cas.Object{Size: 100}, corrupt: true},
	} {
		for _, wrong := range []bool{false, true} {
			c.o.Hash = cas.Sum(cas.SHA1, c.stored)
			if wrong {
				c.o.Hash = cas.Sum(cas.SHA1, []byte(c.name))
			}
			if err := dir.Put(t.Context(), c.o.Name(), bytes.NewReader(c.stored), int64(len(c.stored)), Data); err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			err := copyObject(t.Context(), dir, c.o, &got)
			if want := c.corrupt || wrong; (err != nil) != want || want && !errors.Is(err, cas.ErrCorrupt) {
				t.Errorf("%s, wrong name %v: %v", c.name, wrong, err)
			}
			if err == nil && !bytes.Equal(got.Bytes(), plain) {
				t.Errorf("%s: %d bytes", c.name, got.Len())
			}
			if got.Len() > 1<<20 {
				t.Errorf("%s: %d bytes of a bomb came out", c.name, got.Len())
			}
		}
	}
}

func TestScratchStore(t *testing.T) {
	r := newTestRepo(t)
	r.put("/f", "content")
	scratch := tempDir(t)
	s := &scratchStore{r.s, scratch}
	o := cas.Object{Hash: r.contentHash("content"), Size: 7}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			f, err := s.Open(context.Background(), o)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			if b, err := io.ReadAll(f); string(b) != "content" || err != nil {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
	wg.Wait()
	if err := r.s.Delete(t.Context(), o.Name()); err != nil {
		t.Fatal(err)
	}
	if f, err := s.Open(t.Context(), o); err != nil {
		t.Errorf("a second time: %v", err)
	} else {
		f.Close()
	}
	if _, err := s.Open(t.Context(), cas.Object{Hash: r.contentHash("missing")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing object: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(scratch, "fetch*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestFetcher reads ranges of a storage as mount/repo does.
func TestFetcher(t *testing.T) {
	dir, err := OpenDirectory(tempDir(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.Put(t.Context(), "data/ab/cd", strings.NewReader("0123456789"), 10, Data); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		r    cas.Request
		want string
	}{{cas.Request{Name: "data/ab/cd"}, "0123456789"}, {cas.Request{Name: "data/ab/cd", Offset: 3, Length: 4}, "3456"}} {
		rc, err := Fetcher(dir).Fetch(t.Context(), c.r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(rc)
		if string(b) != c.want || err != nil {
			t.Errorf("%+v: %q, %v", c.r, b, err)
		}
		rc.Close()
	}
	if _, err := Fetcher(dir).Fetch(t.Context(), cas.Request{Name: "data/ab/cd", Offset: 11, Length: 1}); err == nil {
		t.Error("a range behind the end is read")
	}
	if _, err := Fetcher(dir).Fetch(t.Context(), cas.Request{Name: "data/ab/missing"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestDirectoryNames(t *testing.T) {
	root := tempDir(t)
	dir, err := OpenDirectory(filepath.Join(root, "repo"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "secret"), []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", ".", "..", "../secret", "/etc/passwd", "data/../../secret", "data//x"} {
		if err := dir.Put(t.Context(), name, strings.NewReader("x"), 1, Data); err == nil {
			t.Errorf("Put(%q) is content", name)
		}
		if _, err := dir.Get(t.Context(), name); err == nil {
			t.Errorf("Get(%q) is content", name)
		}
		if _, _, err := dir.Has(t.Context(), name); err == nil {
			t.Errorf("Has(%q) is content", name)
		}
		if err := dir.Delete(t.Context(), name); err == nil {
			t.Errorf("Delete(%q) is content", name)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "secret")); err != nil {
		t.Error(err)
	}
}

// TestDirectoryReplaces stores objects over others, of readers that can go back and of such that cannot, and leaves nothing else.
func TestDirectoryReplaces(t *testing.T) {
	dir, err := OpenDirectory(tempDir(t))
	if err != nil {
		t.Fatal(err)
	}
	put := func(r io.Reader, size int64) error { return dir.Put(t.Context(), "data/ab/cd", r, size, Data) }
	for _, c := range []struct {
		name, want string
		r          io.Reader
		size       int64
		fails      bool
	}{
		{"new", "first", strings.NewReader("first"), 5, false},
		{"over another", "second one", strings.NewReader("second one"), 10, false},
		{"without a way back", "third", io.MultiReader(strings.NewReader("third")), 5, false},
		{"from the middle", "fourth", newSection("a fourth", 2), 6, false},
		{"too short", "fourth", strings.NewReader("fifth"), 6, true},
		{"too short, no way back", "fourth", io.MultiReader(strings.NewReader("fifth")), 6, true},
	} {
		if err := put(c.r, c.size); (err != nil) != c.fails {
			t.Errorf("%s: %v", c.name, err)
		}
		if b, err := readAll(t.Context(), dir, "data/ab/cd", 100); string(b) != c.want || err != nil {
			t.Errorf("%s: reads %q, %v", c.name, b, err)
		}
	}
	for f, err := range dir.List(t.Context(), "") {
		if err != nil || f.Name != "data/ab/cd" {
			t.Errorf("left: %s, %v", f.Name, err)
		}
	}
}

// newSection is a reader of s that has been read up to from.
func newSection(s string, from int64) io.Reader {
	r := strings.NewReader(s)
	r.Seek(from, io.SeekStart)
	return r
}

// TestDirectoryFiles looks at what a web server of another user would see.
func TestDirectoryFiles(t *testing.T) {
	r := newTestRepo(t)
	r.put("/f", "x")
	for f, err := range r.s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(filepath.Join(r.dir.root, f.Name))
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm()&0o044 != 0o044 && f.Name != lockName {
			t.Errorf("%s has mode %o", f.Name, st.Mode())
		}
		if strings.HasPrefix(f.Name, "data/txn/") {
			t.Errorf("%s is left", f.Name)
		}
	}
	for _, d := range []string{"data/00", "data/ff", "data/txn"} {
		if st, err := os.Stat(filepath.Join(r.dir.root, d)); err != nil || !st.IsDir() {
			t.Errorf("%s: %v", d, err)
		}
	}
	for _, err := range r.s.List(t.Context(), "nothing/here/") {
		t.Errorf("list of nothing: %v", err)
	}
	for range r.s.List(t.Context(), "data/") {
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range r.s.List(ctx, "data/") {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled list: %v", err)
		}
	}
	if err := r.s.Put(ctx, "data/ab/x", strings.NewReader("x"), 1, Data); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled put: %v", err)
	}
}
