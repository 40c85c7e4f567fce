package deflate

import (
	"bytes"
	"compress/flate"
	"fmt"
	"testing"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/deflate/symbols"
)

// guarded is memory behind which the next byte cannot be read or written.
func guarded(t testing.TB, size int) []byte {
	page := unix.Getpagesize()
	n := (size + page - 1) / page * page
	all, err := unix.Mmap(-1, 0, n+page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(all) })
	if err := unix.Mprotect(all[n:], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	return all[n-size : n : n]
}

// decoders is an inflater, of raw deflated data, for each of the two loops.
type decoders struct {
	t         testing.TB
	fast, go_ *inflater
	pieces    int // how many bytes are made at once, at most, but for those of a symbol
}

func newDecoders(t testing.TB, size, pieces int) *decoders {
	d := &decoders{t, &inflater{}, &inflater{}, pieces}
	for _, z := range []*inflater{d.fast, d.go_} {
		z.In, z.Out = guarded(t, size+slack), guarded(t, window+pieces+room)
	}
	return d
}

// run compares the two after each call, of which source needs many, until it ends or is refused.
func (d *decoders) run(source []byte) {
	d.t.Helper()
	for _, z := range []*inflater{d.fast, d.go_} {
		z.reset()
		in := z.In[len(z.In)-slack-len(source):]
		clear(in[copy(in, source):])
		z.At, z.end, z.last = len(z.In)-slack-len(source), len(z.In)-slack, true
	}
	f, g := d.fast, d.go_
	for f.block != ended && f.At*8-int(f.Held) <= f.end*8 {
		if f.block == codedBlock {
			until, full := f.end+margin, len(f.Out)-room
			got := f.Decode(until, full)
			cpu.X86.HasBMI2 = false
			want := g.Decode(until, full)
			cpu.X86.HasBMI2 = true
			if got != want {
				d.t.Fatalf("ended by %x, want %x", got, want)
			}
			refused := got != 0 && got&symbols.IsEnd == 0
			if d.same(refused); refused {
				return
			}
			for _, z := range []*inflater{f, g} {
				if got != 0 {
					z.take(uint(got & 63))
					z.endBlock()
				}
			}
		} else {
			err := f.other()
			if again := g.other(); err != again {
				d.t.Fatalf("%v and %v", err, again)
			} else if err != nil {
				return
			}
		}
		for _, z := range []*inflater{f, g} {
			if z.Made > window+d.pieces {
				copy(z.Out, z.Out[z.Made-window:z.Made])
				z.Made = window
			}
		}
	}
}

// other goes on where no symbols are.
func (z *inflater) other() error {
	if z.block == storedBlock {
		return z.copyStored()
	}
	return z.header()
}

// same compares what was made and, unless it ends there, where the two stand.
func (d *decoders) same(refused bool) {
	d.t.Helper()
	f, g := d.fast, d.go_
	mask := uint64(1)<<f.Held - 1
	switch {
	case !refused && (f.At != g.At || f.Held != g.Held || f.Hold&mask != g.Hold&mask):
		d.t.Fatalf("stands at byte %d less %d bits %x, want %d less %d %x", f.At, f.Held, f.Hold&mask, g.At, g.Held, g.Hold&mask)
	case f.Made != g.Made || !bytes.Equal(f.Out[:f.Made], g.Out[:g.Made]):
		d.t.Fatalf("made %d bytes, want %d, or others", f.Made, g.Made)
	}
}

// raw is data deflated without a wrapper.
func raw(data []byte, level int) []byte {
	var out bytes.Buffer
	w, _ := flate.NewWriter(&out, level)
	w.Write(data)
	w.Close()
	return out.Bytes()
}

func needBMI2(t testing.TB) {
	if !cpu.X86.HasBMI2 {
		t.Skip("this processor has no BMI2")
	}
}

// TestDecoders has the loop in assembly do what that in Go does, symbol by symbol, with memory that ends where it may.
func TestDecoders(t *testing.T) {
	needBMI2(t)
	contents := samples()
	contents["blocks"] = manyBlocks()
	for distance := range 40 { // copies of themselves
		contents[fmt.Sprintf("every %d", distance+1)] = bytes.Repeat(contents["noise"][:distance+1], 50_000/(distance+1))
	}
	for name, data := range contents {
		for _, level := range []int{flate.HuffmanOnly, 1, 6, 9} {
			source := raw(data, level)
			for _, pieces := range []int{1, 1000, 64 << 10} {
				t.Run(fmt.Sprintf("%s level %d by %d", name, level, pieces), func(t *testing.T) {
					if pieces == 1 {
						source = source[:min(len(source), 5000)]
					}
					newDecoders(t, len(source), pieces).run(source)
				})
			}
		}
	}
}

// TestDecodersFlipped refuses the same with the same bit wrong, having made the same.
func TestDecodersFlipped(t *testing.T) {
	needBMI2(t)
	for _, data := range [][]byte{samples()["text"][:3000], samples()["rare"][:1500], samples()["zeros"][:100_000]} {
		good := raw(data, 6)
		d := newDecoders(t, len(good), 64<<10)
		for i := range 8 * len(good) {
			bad := bytes.Clone(good)
			bad[i/8] ^= 1 << (i % 8)
			d.run(bad)
		}
	}
}

// FuzzDecoders takes any bytes as deflated data.
func FuzzDecoders(f *testing.F) {
	needBMI2(f)
	for _, b := range samples() {
		f.Add(raw(b[:min(len(b), 3000)], 6))
		f.Add(raw(b[:min(len(b), 3000)], flate.HuffmanOnly))
	}
	const most = 64 << 10
	d := newDecoders(f, most, most)
	f.Fuzz(func(t *testing.T, source []byte) {
		if len(source) <= most {
			d.t = t
			d.run(source)
		}
	})
}
