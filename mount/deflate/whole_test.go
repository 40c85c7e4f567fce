package deflate

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io"
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
