package deflate

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// samples are contents of the kinds that images hold.
func samples() map[string][]byte {
	rnd := rand.NewChaCha8([32]byte{1})
	noise := make([]byte, 300_000)
	rnd.Read(noise)
	var text bytes.Buffer
	for i := range 40_000 {
		fmt.Fprintf(&text, "%d times %x\n", i, noise[i%1000:i%1000+i%5])
	}
	return map[string][]byte{
		"empty": {}, "byte": {7}, "zeros": make([]byte, 3<<20), "noise": noise, "text": text.Bytes(),
		"rare": rareSymbols(), "mixed": bytes.Join([][]byte{text.Bytes(), noise, make([]byte, 100_000), text.Bytes()}, nil),
	}
}

// TestWriterIsRead writes in pieces of several sizes what the standard library must read.
func TestWriterIsRead(t *testing.T) {
	w := NewWriter(nil)
	for name, want := range samples() {
		for _, piece := range []int{1 << 30, 100_001, 4096} {
			t.Run(fmt.Sprintf("%s by %d", name, piece), func(t *testing.T) {
				var stored bytes.Buffer
				w.Reset(&stored)
				for b := want; len(b) > 0; b = b[min(piece, len(b)):] {
					if n, err := w.Write(b[:min(piece, len(b))]); err != nil || n != min(piece, len(b)) {
						t.Fatalf("write: %d, %v", n, err)
					}
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				if len(want) > 1000 && stored.Len() > len(want)+len(want)/100 {
					t.Errorf("%d bytes became %d", len(want), stored.Len())
				}
				z, err := zlib.NewReader(&stored)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(z)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("read back: %d bytes, want %d, %v", len(got), len(want), err)
				}
			})
		}
	}
}

// TestWriterError hands on what the writer below says.
func TestWriterError(t *testing.T) {
	full := errors.New("full")
	w := NewWriter(writerFunc(func([]byte) (int, error) { return 0, full }))
	_, err := w.Write(samples()["noise"])
	if cerr := w.Close(); !errors.Is(errors.Join(err, cerr), full) {
		t.Errorf("got %v and %v", err, cerr)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// stored is b as the standard library stores it.
func stored(f Format, b []byte) []byte {
	var out bytes.Buffer
	var w io.WriteCloser = zlib.NewWriter(&out)
	if f == Gzip {
		w = gzip.NewWriter(&out)
	}
	w.Write(b)
	w.Close()
	return out.Bytes()
}

// TestReader reads what the standard library writes, in pieces of all sizes.
func TestReader(t *testing.T) {
	for _, f := range []Format{Zlib, Gzip} {
		z := NewReader(nil, f)
		for name, want := range samples() {
			in := stored(f, want)
			for how, r := range map[string]io.Reader{"whole": bytes.NewReader(in), "bytes": iotest.OneByteReader(bytes.NewReader(in)),
				"halves": iotest.HalfReader(bytes.NewReader(in)), "with EOF": iotest.DataErrReader(bytes.NewReader(in))} {
				z.Reset(r)
				if got, err := io.ReadAll(z); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%v %s %s: %d bytes, want %d, %v", f, name, how, len(got), len(want), err)
				}
			}
		}
	}
}

// TestReaderPieces ends each Read somewhere else.
func TestReaderPieces(t *testing.T) {
	want := samples()["mixed"]
	z := NewReader(bytes.NewReader(stored(Zlib, want)), Zlib)
	var got []byte
	for size := 1; ; size = size*7%9973 + 1 {
		p := make([]byte, size)
		n, err := z.Read(p)
		got = append(got, p[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
}

// TestMembers reads gzip members one after the other, wherever reads end.
func TestMembers(t *testing.T) {
	var in, want []byte
	for _, b := range samples() {
		in, want = append(in, stored(Gzip, b)...), append(want, b...)
	}
	for how, r := range map[string]io.Reader{"whole": bytes.NewReader(in), "bytes": iotest.OneByteReader(bytes.NewReader(in))} {
		if got, err := io.ReadAll(NewReader(r, Gzip)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, want %d, %v", how, len(got), len(want), err)
		}
	}
}

// TestReaderErrors names what is wrong with a stream.
func TestReaderErrors(t *testing.T) {
	text := samples()["text"]
	broken := errors.New("broken")
	for _, f := range []Format{Zlib, Gzip} {
		good := stored(f, text)
		sum := bytes.Clone(good)
		sum[len(sum)-6+int(2-2*f)] ^= 1 // gzip: the checksum's, before the length; zlib: the last but third
		other := stored(1-f, text)
		for _, c := range []struct {
			name string
			in   io.Reader
			want error
		}{
			{"nothing", bytes.NewReader(nil), io.ErrUnexpectedEOF},
			{"header", bytes.NewReader(good[:1]), io.ErrUnexpectedEOF},
			{"half", bytes.NewReader(good[:len(good)/2]), io.ErrUnexpectedEOF},
			{"last byte missing", bytes.NewReader(good[:len(good)-1]), io.ErrUnexpectedEOF},
			{"checksum", bytes.NewReader(sum), ErrChecksum},
			{"other format", bytes.NewReader(other), ErrFormat},
			{"source fails", io.MultiReader(bytes.NewReader(good[:1000]), iotest.ErrReader(broken)), broken},
			{"source fails at the end", io.MultiReader(bytes.NewReader(good), iotest.ErrReader(broken)), broken},
		} {
			if _, err := io.ReadAll(NewReader(c.in, f)); !errors.Is(err, c.want) {
				t.Errorf("%v %s: %v, want %v", f, c.name, err, c.want)
			}
		}
		for _, more := range []string{"x", "more bytes than fit into the registers of a machine"} {
			in := iotest.OneByteReader(bytes.NewReader(append(bytes.Clone(good), more...)))
			got, err := io.ReadAll(NewReader(in, f))
			if err == nil || errors.Is(err, io.EOF) || !bytes.Equal(got, text) {
				t.Errorf("%v followed by %q: %d bytes, %v", f, more, len(got), err)
			}
		}
	}
}

// TestCut ends a stream after each of its bytes.
func TestCut(t *testing.T) {
	all := samples()
	for _, f := range []Format{Zlib, Gzip} {
		z := NewReader(nil, f)
		for _, want := range [][]byte{all["byte"], all["text"][:2000], all["noise"][:500], all["rare"]} {
			good := stored(f, want)
			for n := range len(good) {
				z.Reset(bytes.NewReader(good[:n]))
				if got, err := io.ReadAll(z); err != io.ErrUnexpectedEOF || len(got) > len(want) || !bytes.Equal(got, want[:len(got)]) {
					t.Fatalf("%v: %d of %d bytes give %d, %v", f, n, len(good), len(got), err)
				}
			}
		}
	}
}

// TestFlipped changes each bit of a stream and compares with the standard library: some bits mean nothing, and Adler's sum of
// few bytes does not tell all.
func TestFlipped(t *testing.T) {
	z := NewReader(nil, Zlib)
	for _, text := range [][]byte{samples()["text"][:1000], samples()["rare"][:1500]} {
		good := stored(Zlib, text)
		for i := range 8 * len(good) {
			bad := bytes.Clone(good)
			bad[i/8] ^= 1 << (i % 8)
			var want []byte
			r, wantErr := zlib.NewReader(bytes.NewReader(bad))
			if wantErr == nil {
				want, wantErr = io.ReadAll(r)
			}
			z.Reset(bytes.NewReader(bad))
			got, err := io.ReadAll(z)
			if err == nil && (wantErr != nil || !bytes.Equal(got, want)) {
				t.Fatalf("bit %d: %d bytes; the standard library %d, %v", i, len(got), len(want), wantErr)
			}
		}
	}
}

// TestGzipHeader has all that a header may have.
func TestGzipHeader(t *testing.T) {
	want := samples()["text"]
	var in bytes.Buffer
	w := gzip.NewWriter(&in)
	w.Name, w.Comment, w.Extra = "layer.tar", "of an image", bytes.Repeat([]byte("x"), 70_000>>1)
	w.Write(want)
	w.Close()
	plain := in.Bytes()
	checked := bytes.Clone(plain)
	checked[3] |= 2
	head := len(plain) - len(stored(Gzip, want)) + 10
	sum := crc32.ChecksumIEEE(checked[:head])
	checked = append(append(checked[:head:head], byte(sum), byte(sum>>8)), plain[head:]...)
	wrong := bytes.Clone(checked)
	wrong[head] ^= 1
	for _, c := range []struct {
		name string
		in   []byte
		good bool
	}{{"names", plain, true}, {"with a checksum", checked, true}, {"with a wrong one", wrong, false}, {"cut", checked[:head-5], false}} {
		got, err := io.ReadAll(NewReader(bytes.NewReader(c.in), Gzip))
		if (err == nil) != c.good || c.good && !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", c.name, len(got), err)
		}
	}
}

// FuzzReader compares with the standard library: what that takes gives the same bytes, what it refuses is refused.
func FuzzReader(f *testing.F) {
	for _, b := range samples() {
		b = b[:min(len(b), 3000)] // the fuzzer is slow with more
		f.Add(stored(Zlib, b), false)
		f.Add(stored(Gzip, b), true)
	}
	const most = 1 << 20
	f.Fuzz(func(t *testing.T, in []byte, gz bool) {
		format, open := Zlib, func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }
		if gz {
			format, open = Gzip, func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }
		}
		src := bytes.NewReader(in)
		want, wantErr := []byte(nil), error(nil)
		r, wantErr := open(src)
		if wantErr == nil {
			want, wantErr = io.ReadAll(io.LimitReader(r, most))
		}
		if wantErr == nil && len(want) < most && src.Len() > 0 {
			wantErr = ErrTrailing
		}
		got, err := io.ReadAll(io.LimitReader(NewReader(bytes.NewReader(in), format), most))
		if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
			t.Errorf("%d bytes, %v; the standard library %d, %v", len(got), err, len(want), wantErr)
		}
		z := NewBlockReader(bytes.NewReader(in), format)
		z.KeepBlocks()
		n, _ := io.Copy(io.Discard, io.LimitReader(z, most))
		z.Cut(0, n, nil)
	})
}

func BenchmarkReader(b *testing.B) {
	want := samples()["text"]
	in := stored(Zlib, want)
	b.SetBytes(int64(len(want)))
	z, out := NewReader(nil, Zlib), make([]byte, 128<<10)
	for b.Loop() {
		z.Reset(bytes.NewReader(in))
		for {
			if _, err := z.Read(out); err != nil {
				break
			}
		}
	}
}

func BenchmarkWriter(b *testing.B) {
	in := samples()["text"]
	b.SetBytes(int64(len(in)))
	w := NewWriter(nil)
	for b.Loop() {
		w.Reset(io.Discard)
		w.Write(in)
		w.Close()
	}
}
