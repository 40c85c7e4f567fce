package deflate

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
)

// TestInflate reads what the standard library and the Writer make, into just enough room and into more.
func TestInflate(t *testing.T) {
	for name, want := range samples() {
		var own bytes.Buffer
		w := NewWriter(&own)
		w.Write(want)
		w.Close()
		for from, in := range map[string][]byte{"standard": stored(Zlib, want), "own": own.Bytes()} {
			for _, room := range []int{len(want), len(want) + 1, len(want) + 100_000} {
				dst := make([]byte, room)
				if n, err := Inflate(dst, in); err != nil || !bytes.Equal(dst[:n], want) {
					t.Errorf("%s %s into %d: %d bytes, want %d, %v", from, name, room, n, len(want), err)
				}
			}
		}
	}
}

// TestInflateErrors names what is wrong with a stream, and leaves what is behind dst alone.
func TestInflateErrors(t *testing.T) {
	text := samples()["text"]
	good := stored(Zlib, text)
	change := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 1
		return b
	}
	for _, c := range []struct {
		name string
		in   []byte
		room int
		want error
	}{
		{"nothing", nil, len(text), ErrFormat},
		{"header", good[:2], len(text), ErrFormat},
		{"half", good[:len(good)/2], len(text), ErrFormat},
		{"last byte missing", good[:len(good)-1], len(text), ErrFormat},
		{"checksum", change(len(good) - 1), len(text), ErrFormat},
		{"method", change(0), len(text), ErrFormat},
		{"gzip", stored(Gzip, text), len(text), ErrFormat},
		{"a byte more", append(bytes.Clone(good), 'x'), len(text), ErrTrailing},
		{"twice", append(bytes.Clone(good), good...), 2 * len(text), ErrTrailing},
		{"a byte too long", good, len(text) - 1, ErrLong},
		{"no room", good, 0, ErrLong},
		{"a bomb", stored(Zlib, make([]byte, 4<<20)), 1000, ErrLong},
	} {
		buf := bytes.Repeat([]byte{0xa5}, c.room+64)
		if n, err := Inflate(buf[:c.room:c.room], c.in); n != 0 || !errors.Is(err, c.want) {
			t.Errorf("%s: %d bytes, %v, want %v", c.name, n, err, c.want)
		}
		if !bytes.Equal(buf[c.room:], bytes.Repeat([]byte{0xa5}, 64)) {
			t.Errorf("%s: bytes behind the room were written", c.name)
		}
	}
}

// FuzzInflate compares with the standard library: what that takes gives the same bytes.
func FuzzInflate(f *testing.F) {
	for _, b := range samples() {
		f.Add(stored(Zlib, b[:min(len(b), 3000)]), 3000)
	}
	f.Fuzz(func(t *testing.T, in []byte, room int) {
		dst := make([]byte, max(room, 0)%(1<<20))
		src := bytes.NewReader(in)
		var want []byte
		r, wantErr := zlib.NewReader(src)
		if wantErr == nil {
			want, wantErr = io.ReadAll(io.LimitReader(r, int64(len(dst))+1))
		}
		switch {
		case wantErr != nil:
		case len(want) > len(dst):
			wantErr = ErrLong
		case src.Len() > 0:
			wantErr = ErrTrailing
		}
		n, err := Inflate(dst, in)
		if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(dst[:n], want) {
			t.Errorf("%d bytes, %v; the standard library %d, %v", n, err, len(want), wantErr)
		}
	})
}

// TestDeflate writes what the standard library must read, into any room, always the same.
func TestDeflate(t *testing.T) {
	all := samples()
	for _, n := range []int{2, 100, 4095, 65535, 65536, 199_999} {
		all[fmt.Sprint(n, " of noise")] = all["noise"][:n]
	}
	large := make([]byte, 5<<20+1)
	rand.NewChaCha8([32]byte{2}).Read(large)
	all["dense"] = large
	all["dense with text"] = bytes.Join([][]byte{large[:700_000], all["text"], large}, nil)
	all["text with noise"] = bytes.Join([][]byte{all["text"], large[:700_000], all["text"]}, nil)
	for name, want := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var first []byte
			for _, room := range []int{0, Bound(len(want)) - 1, Bound(len(want)), Bound(len(want)) + 1<<20} {
				dirty := bytes.Repeat([]byte{0xa5}, room)
				out, err := Deflate(dirty[:room/2], want)
				if err != nil {
					t.Fatal(err)
				}
				if len(out) > Bound(len(want)) {
					t.Errorf("%d bytes became %d, the bound is %d", len(want), len(out), Bound(len(want)))
				}
				if len(out) <= room && room >= Bound(len(want)) && &out[0] != &dirty[0] {
					t.Errorf("room for %d bytes is not used for %d", room, len(out))
				}
				if first == nil {
					first = bytes.Clone(out)
				} else if !bytes.Equal(out, first) {
					t.Error("not the same twice")
				}
			}
			if first[0] != 0x78 {
				t.Errorf("begins with %#x, not with what old readers look for", first[0])
			}
			inflates(t, first, want)
		})
	}
}

// inflates has the standard library read a stream.
func inflates(t *testing.T, stored, want []byte) {
	t.Helper()
	in := bytes.NewReader(stored)
	z, err := zlib.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(z)
	if err != nil || !bytes.Equal(got, want) || in.Len() > 0 {
		t.Errorf("read back: %d bytes, want %d, %v, %d bytes behind", len(got), len(want), err, in.Len())
	}
}

func FuzzDeflate(f *testing.F) {
	for _, b := range samples() {
		f.Add(b[:min(len(b), 3000)], 1)
	}
	f.Fuzz(func(t *testing.T, data []byte, times int) {
		data = bytes.Repeat(data, max(times, 1)%100)
		stored, err := Deflate(nil, data)
		if err != nil {
			t.Fatal(err)
		}
		inflates(t, stored, data)
	})
}

func BenchmarkInflate(b *testing.B) {
	want := samples()["text"]
	in, out := stored(Zlib, want), make([]byte, len(want))
	b.SetBytes(int64(len(want)))
	for b.Loop() {
		if _, err := Inflate(out, in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDeflate(b *testing.B) {
	in := samples()["text"]
	out := make([]byte, Bound(len(in)))
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if _, err := Deflate(out, in); err != nil {
			b.Fatal(err)
		}
	}
}
