package cas

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/iotest"
)

func decodeBytes(stored []byte, o Object) ([]byte, error) {
	var b bytes.Buffer
	wire, err := Decode(&b, bytes.NewReader(stored), o)
	if err == nil && wire != int64(len(stored)) {
		return nil, errors.New("not all bytes were counted")
	}
	return b.Bytes(), err
}

func TestDecode(t *testing.T) {
	for _, size := range []int{0, 1, 100, 70_000, 300_000} {
		for _, a := range []Algorithm{SHA1, RMD160, SHAKE128} {
			for _, c := range []Compression{Zlib, None} {
				content := text(size, 1)
				stored := content
				if c == Zlib {
					stored = deflated(content)
				}
				o := Object{Hash: Sum(a, stored), Compression: c, Size: int64(size)}
				for _, known := range []bool{true, false} {
					if !known {
						o.Size = -1
					}
					got, err := decodeBytes(stored, o)
					if err != nil || !bytes.Equal(got, content) {
						t.Errorf("%d bytes, %v, %v: %d bytes, error %v", size, a, c, len(got), err)
					}
				}
				var b bytes.Buffer
				if _, err := Decode(&b, iotest.OneByteReader(bytes.NewReader(stored[:min(len(stored), 1000)])), o); len(stored) <= 1000 && err != nil {
					t.Errorf("%d bytes, %v, %v, one by one: %v", size, a, c, err)
				}
			}
		}
	}
}

// TestDecodeDamage changes an object in every single place: nothing of it may pass.
func TestDecodeDamage(t *testing.T) {
	content := text(300, 1)
	for _, c := range []Compression{Zlib, None} {
		for _, size := range []int64{300, -1} {
			stored := content
			if c == Zlib {
				stored = deflated(content)
			}
			o := Object{Hash: Sum(SHA1, stored), Compression: c, Size: size}
			for i := range stored {
				bad := bytes.Clone(stored)
				bad[i] ^= 1 << (i % 8)
				if _, err := decodeBytes(bad, o); !errors.Is(err, ErrCorrupt) {
					t.Fatalf("%v: byte %d flipped: error %v", c, i, err)
				}
				if _, err := decodeBytes(stored[:i], o); !errors.Is(err, ErrCorrupt) {
					t.Fatalf("%v: cut to %d: error %v", c, i, err)
				}
			}
			for _, more := range []string{"x", strings.Repeat("x", 100_000)} {
				if _, err := decodeBytes(append(bytes.Clone(stored), more...), o); !errors.Is(err, ErrCorrupt) {
					t.Errorf("%v: %d bytes appended: error %v", c, len(more), err)
				}
			}
		}
	}
}

// TestDecodeSize refuses objects whose hash is right and whose size is not the catalog's.
func TestDecodeSize(t *testing.T) {
	content := text(1000, 1)
	for _, c := range []Compression{Zlib, None} {
		stored := content
		if c == Zlib {
			stored = deflated(content)
		}
		for _, size := range []int64{0, 1, 999, 1001, 1 << 40} {
			o := Object{Hash: Sum(SHA1, stored), Compression: c, Size: size}
			if _, err := decodeBytes(stored, o); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%v, size %d: error %v", c, size, err)
			}
		}
	}
	o := Object{Hash: Sum(SHA1, content), Compression: 7, Size: 1000}
	if _, err := decodeBytes(content, o); !errors.Is(err, ErrCorrupt) {
		t.Errorf("unknown compression: error %v", err)
	}
}

// TestDecodeLarge decompresses the same with room to hold it whole and without.
func TestDecodeLarge(t *testing.T) {
	content := text(smallWhole+1, 1)
	stored := deflated(content)
	right := Object{Hash: Sum(SHA1, stored), Size: int64(len(content))}
	wrong := Object{Hash: Sum(SHA1, content), Size: int64(len(content))}
	decode := func(how string) {
		if got, err := decodeBytes(stored, right); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes, %v", how, len(got), err)
		}
		if _, err := decodeBytes(stored, wrong); !errors.Is(err, errDigest) {
			t.Errorf("%s: a wrong hash: %v", how, err)
		}
	}
	decode("with room")
	var held []func()
	for range wholeRoom / (wholeMax / 2) {
		release, ok := holdWhole(Object{Size: wholeMax / 2})
		if !ok {
			t.Fatal("no room to begin with")
		}
		held = append(held, release)
	}
	if _, ok := holdWhole(right); ok {
		t.Error("room for more than there is")
	}
	decode("without room")
	for _, release := range held {
		release()
	}
	if n := wholeHeld.Load(); n != 0 {
		t.Errorf("%d bytes are still held", n)
	}
}

// TestDecodeRight decompresses nothing that is not what its name says.
func TestDecodeRight(t *testing.T) {
	var out counter
	o := Object{Hash: Sum(SHA1, []byte("other")), Size: 1000}
	if _, err := Decode(&out, bytes.NewReader(deflated(text(1000, 1))), o); !errors.Is(err, errDigest) || out > 0 {
		t.Errorf("%d bytes were written, error %v", out, err)
	}
}

// TestDecodeBomb stops soon when few bytes become many, and when many become nothing.
func TestDecodeBomb(t *testing.T) {
	bomb := deflated(make([]byte, 10<<20))
	var out counter
	o := Object{Hash: Sum(SHA1, bomb), Size: 1000}
	if _, err := Decode(&out, bytes.NewReader(bomb), o); !errors.Is(err, ErrCorrupt) || out > 1001 {
		t.Errorf("%d bytes were written, error %v", out, err)
	}
	empty := io.MultiReader(bytes.NewReader([]byte{0x78, 0x9c}), &endless{pattern: []byte{0, 0, 0, 0xff, 0xff}})
	if wire, err := Decode(&out, empty, o); !errors.Is(err, ErrCorrupt) || wire > 1<<20 {
		t.Errorf("%d bytes were read, error %v", wire, err)
	}
	plain := &endless{pattern: []byte("x")}
	if wire, err := Decode(&out, plain, Object{Hash: o.Hash, Compression: None, Size: 10}); !errors.Is(err, ErrCorrupt) || wire > 1<<20 {
		t.Errorf("%d bytes were read, error %v", wire, err)
	}
}

type counter int

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

type endless struct {
	pattern []byte
	n       int
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = e.pattern[e.n%len(e.pattern)]
		e.n++
	}
	return len(p), nil
}

// TestDecodeErrors tells a broken connection and a broken disk from broken data.
func TestDecodeErrors(t *testing.T) {
	content := text(10_000, 1)
	stored := deflated(content)
	o := Object{Hash: Sum(SHA1, stored), Size: 10_000}
	broken := errors.New("broken")
	for _, at := range []int{0, 1, 2, 100, len(stored)} {
		r := io.MultiReader(bytes.NewReader(stored[:at]), iotest.ErrReader(broken))
		if _, err := Decode(io.Discard, r, o); !errors.Is(err, broken) || errors.Is(err, ErrCorrupt) {
			t.Errorf("after %d bytes: error %v", at, err)
		}
	}
	if _, err := Decode(failingWriter{broken}, bytes.NewReader(stored), o); err != broken {
		t.Errorf("error %v", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write(p []byte) (int, error) { return 0, w.err }

func TestReadVerified(t *testing.T) {
	d := newDepot(t)
	content := text(5000, 1)
	o := d.put(t, content, SHA1, Zlib)
	// The first answer is wrong, as from a broken cache of a proxy.
	d.fault = func(n int, r Request, body io.ReadCloser, err error) (io.ReadCloser, error) {
		if !r.NoCache {
			body.Close()
			return io.NopCloser(strings.NewReader("nonsense")), nil
		}
		return body, err
	}
	got, err := ReadVerified(t.Context(), d, o)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
	// It stays wrong, whatever is asked.
	d.fault = func(_ int, _ Request, body io.ReadCloser, _ error) (io.ReadCloser, error) {
		body.Close()
		return &rejectable{io.NopCloser(strings.NewReader("nonsense"))}, nil
	}
	before := len(d.requests())
	if _, err := ReadVerified(t.Context(), d, o); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "from somewhere") {
		t.Errorf("error %v", err)
	}
	if n := len(d.requests()) - before; n != maxTransfers {
		t.Errorf("%d requests, want %d", n, maxTransfers)
	}
	if _, err := ReadVerified(t.Context(), nil, o); err == nil {
		t.Error("no fetcher, no error")
	}
}

type rejectable struct{ io.ReadCloser }

func (*rejectable) Source() string    { return "somewhere" }
func (*rejectable) Reject(error) bool { return true }

func TestAlternative(t *testing.T) {
	d := newDepot(t)
	content := text(5000, 1)
	stored := deflated(content)
	o := Object{Hash: Sum(SHAKE128, stored), Suffix: CatalogSuffix, Size: 5000, Alternative: true}
	if _, err := ReadVerified(t.Context(), d, o); !errors.Is(err, fs.ErrNotExist) || len(d.requests()) != 2 {
		t.Errorf("error %v after %d requests", err, len(d.requests()))
	}
	d.write(t, o.AltName(), stored)
	if got, err := ReadVerified(t.Context(), d, o); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
	o.Alternative = false
	if _, err := ReadVerified(t.Context(), d, o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestDir(t *testing.T) {
	d := newDepot(t)
	content := text(1000, 1)
	d.write(t, "a/b c", content)
	for _, tc := range []struct {
		r    Request
		want []byte
	}{
		{Request{Name: "a/b c"}, content}, {Request{Name: "/a/b c"}, content},
		{Request{Name: "a/b c", Offset: 10, Length: 20}, content[10:30]},
	} {
		f, err := d.Dir.Fetch(t.Context(), tc.r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(f)
		if err != nil || !bytes.Equal(got, tc.want) {
			t.Errorf("%+v: %d bytes, error %v", tc.r, len(got), err)
		}
		f.Close()
	}
	f, err := d.Dir.Fetch(t.Context(), Request{Name: "a/b c", Offset: 990, Length: 20})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(f); err != io.ErrUnexpectedEOF {
		t.Errorf("beyond the end: error %v", err)
	}
	f.Close()
	for _, name := range []string{"absent", "../x", "a/../../x", ""} {
		if _, err := d.Dir.Fetch(t.Context(), Request{Name: name}); err == nil {
			t.Errorf("%q was opened", name)
		}
	}
	if _, err := d.Dir.Fetch(t.Context(), Request{Name: "absent"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(deflated([]byte("hello")), uint8(0))
	f.Add([]byte("hello"), uint8(1))
	f.Fuzz(func(t *testing.T, stored []byte, c uint8) {
		o := Object{Hash: Sum(SHA1, stored), Compression: Compression(c % 2), Size: -1}
		got, err := decodeBytes(stored, o)
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		if err == nil && o.Compression == None && !bytes.Equal(got, stored) {
			t.Fatal("plain bytes changed")
		}
	})
}
