package deflate

import (
	"bytes"
	"hash/adler32"
	"math/rand/v2"
	"testing"
)

// TestAdler compares with the standard library: all lengths about a step, the largest sums, parts, more than a run.
func TestAdler(t *testing.T) {
	random := make([]byte, 3000)
	r := rand.New(rand.NewPCG(5, 5))
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	long := bytes.Repeat([]byte{255}, 9<<20)
	for _, b := range [][]byte{random, long[:3000], make([]byte, 3000)} {
		for n := range b {
			if got, want := addAdler(1, b[:n]), adler32.Checksum(b[:n]); got != want {
				t.Fatalf("%d bytes of %x: %x, want %x", n, b[0], got, want)
			}
		}
	}
	if got, want := addAdler(1, long), adler32.Checksum(long); got != want {
		t.Errorf("%d bytes: %x, want %x", len(long), got, want)
	}
	if got, want := addAdler(65520<<16|65520, long), addAdler(addAdler(65520<<16|65520, long[:777]), long[777:]); got != want {
		t.Errorf("from the largest sum: %x, in parts %x", got, want)
	}
}

// FuzzAdler writes data in two parts.
func FuzzAdler(f *testing.F) {
	f.Add(bytes.Repeat([]byte("\xff\xfe"), 500), 177)
	f.Fuzz(func(t *testing.T, data []byte, at int) {
		at = int(uint(at) % uint(len(data)+1))
		own, want := newAdler(), adler32.New()
		for _, part := range [][]byte{data[:at], data[at:]} {
			own.Write(part)
			want.Write(part)
			if own.Sum32() != want.Sum32() || !bytes.Equal(own.Sum(nil), want.Sum(nil)) {
				t.Fatalf("%x, want %x", own.Sum32(), want.Sum32())
			}
		}
		if own.Reset(); own.Sum32() != 1 {
			t.Fatalf("%x of nothing", own.Sum32())
		}
	})
}

func BenchmarkAdler(b *testing.B) {
	data := bytes.Repeat([]byte("etaoin shrdlu"), 100_000)
	for name, sum := range map[string]func([]byte) uint32{
		"own":      func(p []byte) uint32 { return addAdler(1, p) },
		"standard": adler32.Checksum,
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				sum(data)
			}
		})
	}
}
