package deflate

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"testing"
)

// manyBlocks is data of several kinds, long enough for many blocks, some of which are stored.
func manyBlocks() []byte {
	r := rand.New(rand.NewPCG(3, 3))
	var b bytes.Buffer
	for i := range 30 {
		part := exactSamples()[4+i]
		for range 4 + r.IntN(12) {
			b.Write(part[r.IntN(len(part)/2+1):])
			fmt.Fprintf(&b, "%d and %x", r.Int(), r.Uint32())
		}
	}
	return b.Bytes()
}

// sources are streams that compressors of all kinds make of data.
func sources(t testing.TB, data []byte) map[string][]byte {
	all := map[string][]byte{}
	for level := flate.HuffmanOnly; level <= flate.BestCompression; level++ {
		var out bytes.Buffer
		w, err := gzip.NewWriterLevel(&out, level)
		if err != nil {
			t.Fatal(err)
		}
		for b := data; len(b) > 0; b = b[min(100_000, len(b)):] {
			w.Write(b[:min(100_000, len(b))])
			if level%3 == 1 {
				w.Flush()
			}
		}
		w.Close()
		all[fmt.Sprintf("go level %d", level)] = out.Bytes()
	}
	var members bytes.Buffer // as eStargz is
	for b := data; len(b) > 0; b = b[min(200_000, len(b)):] {
		members.Write(stored(Gzip, b[:min(200_000, len(b))]))
	}
	all["members"] = members.Bytes()
	if gz, err := exec.LookPath("gzip"); err == nil {
		for _, level := range []string{"-1", "-6", "-9"} {
			cmd := exec.Command(gz, "-c", level)
			cmd.Stdin = bytes.NewReader(data)
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			all["gzip "+level] = out
		}
	}
	return all
}

// cutter reads a stream and splices pieces of it.
type cutter struct {
	t    testing.TB
	z    *BlockReader
	data []byte
	at   int64 // bytes read
}

func newCutter(t testing.TB, stream, data []byte) *cutter {
	z := NewBlockReader(bytes.NewReader(stream), Gzip)
	z.KeepBlocks()
	return &cutter{t, z, data, 0}
}

// splice reads up to beyond to and compares what becomes of from..to; it returns how many of the bytes' stream were taken over.
func (c *cutter) splice(from, to, beyond int, inPlace bool) (taken bool, size int) {
	c.t.Helper()
	if n := min(to+beyond, len(c.data)) - int(c.at); n > 0 {
		got := make([]byte, n)
		if _, err := io.ReadFull(c.z, got); err != nil || !bytes.Equal(got, c.data[c.at:c.at+int64(n)]) {
			c.t.Fatalf("bytes %d+%d differ: %v", c.at, n, err)
		}
		c.at += int64(n)
	}
	want := c.data[from:to]
	out := make([]byte, Bound(len(want))+100_000)
	var space []byte
	if inPlace {
		space = out
	}
	stored, taken, err := Splice(out, want, c.z.Cut(int64(from), int64(to), space))
	if err != nil {
		c.t.Fatal(err)
	}
	r, err := zlib.NewReader(bytes.NewReader(stored))
	if err != nil {
		c.t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, want) {
		c.t.Fatalf("%d..%d, taken %v: %d bytes come back, want %d: %v", from, to, taken, len(got), len(want), err)
	}
	// Ours is strict: nothing may follow the stream.
	if got, err = io.ReadAll(NewBlockReader(bytes.NewReader(stored), Zlib)); err != nil || !bytes.Equal(got, want) {
		c.t.Fatalf("%d..%d: %d bytes by our reader, want %d: %v", from, to, len(got), len(want), err)
	}
	return taken, len(stored)
}

// TestSplice cuts streams of all kinds in places of all kinds; each piece must come back.
func TestSplice(t *testing.T) {
	data := manyBlocks()
	taken := map[string]int{}
	for name, stream := range sources(t, data) {
		for seed := range uint64(4) {
			r := rand.New(rand.NewPCG(seed, 9))
			c := newCutter(t, stream, data)
			for at := 0; at < len(data); {
				from := min(at+r.IntN(3000), len(data))
				to := min(from+r.IntN([]int{1000, 50_000, 700_000}[seed%3]), len(data))
				if seed == 3 {
					from, to = at, min(at+200_000, len(data))
				}
				if ok, _ := c.splice(from, to, r.IntN(100_000), seed%2 == 0); ok {
					taken[name]++
				}
				at = to
			}
		}
	}
	for _, name := range []string{"gzip -6", "gzip -9", "go level -1", "go level 9", "members"} {
		if taken[name] == 0 {
			t.Errorf("%s: nothing was taken over of %v", name, taken)
		}
	}
	for _, name := range []string{"go level 0", "go level -2"} {
		if taken[name] > 0 {
			t.Errorf("%s: %d pieces were taken over as badly compressed as they are", name, taken[name])
		}
	}
}

// TestSpliceWhole takes over all of a member, to the bit.
func TestSpliceWhole(t *testing.T) {
	data := bytes.Repeat(samples()["text"], 2)
	stream := stored(Gzip, data)
	taken, size := newCutter(t, stream, data).splice(0, len(data), 0, false)
	if want := len(stream) - 18 + 6; !taken || size > want+100_000 {
		t.Errorf("taken %v: %d bytes, want about %d", taken, size, want)
	}
}

// TestCutBounded goes through a source of tiny blocks, and one that does not get smaller, and asks for none of it.
func TestCutBounded(t *testing.T) {
	var tiny bytes.Buffer
	w, _ := gzip.NewWriterLevel(&tiny, 1)
	for range maxBlocks + 1000 {
		w.Write([]byte("x"))
		w.Flush()
	}
	w.Close()
	var dense bytes.Buffer
	w, _ = gzip.NewWriterLevel(&dense, gzip.NoCompression)
	w.Write(make([]byte, 2*maxLogged))
	w.Close()
	for _, stream := range [][]byte{tiny.Bytes(), dense.Bytes()} {
		z := NewBlockReader(bytes.NewReader(stream), Gzip)
		z.KeepBlocks()
		n, err := io.Copy(io.Discard, z)
		if err != nil {
			t.Fatal(err)
		}
		if l := z.blocks; len(l.blocks) > maxBlocks || cap(l.raw) > 2*maxLogged {
			t.Errorf("%d blocks, %d bytes are kept", len(l.blocks), cap(l.raw))
		}
		if p := z.Cut(0, n, nil); p != nil {
			t.Error("blocks of what was dropped")
		}
	}
}

// TestTrust has a source be well compressed for a while, then badly, then well again: few of the bad pieces are taken over, and
// all of the good ones.
func TestTrust(t *testing.T) {
	const pieces = 4 * trusted
	text := samples()["text"][:50_000]
	var stream bytes.Buffer
	for i := range 3 * pieces {
		w := gzip.NewWriter(&stream)
		if i/pieces == 1 {
			w, _ = gzip.NewWriterLevel(&stream, gzip.HuffmanOnly)
		}
		w.Write(text)
		w.Close()
	}
	c := newCutter(t, stream.Bytes(), bytes.Repeat(text, 3*pieces))
	var taken [3]int
	for i := range 3 * pieces {
		if ok, _ := c.splice(i*len(text), (i+1)*len(text), 0, false); ok {
			taken[i/pieces]++
		}
	}
	if taken[0] != pieces || taken[1] > triedOfTrusted || taken[2] != pieces {
		t.Errorf("%d pieces each of good, bad and good blocks: %v are taken over", pieces, taken)
	}
}

// TestCopyBits copies from any bit to any, all lengths of some words, up to the end of the source; in one array, too.
func TestCopyBits(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	source := make([]byte, 1000)
	for i := range source {
		source[i] = byte(r.Uint32())
	}
	for i := range int64(30_000) {
		begin, ahead := i%64, i/64%16
		n := r.Int64N(300)
		end := begin + n
		if i%3 == 0 {
			begin, end = 8000-begin-n, 8000-begin
		}
		var want bits
		want.put(0x5a5a&(1<<ahead-1), int(ahead))
		for at := begin; at < end; at++ {
			want.put(bitAt(source, at), 1)
		}
		array := append(make([]byte, 10), source...)
		for _, got := range []bits{{}, {out: array[:0]}} {
			got.put(0x5a5a&(1<<ahead-1), int(ahead))
			got.copy(array[10:], begin, end)
			if !bytes.Equal(got.out, want.out) || got.n != want.n || got.hold != want.hold {
				t.Fatalf("bits %d to %d behind %d: %x and %d bits, want %x and %d", begin, end, ahead, got.out, got.n, want.out, want.n)
			}
		}
	}
}

// BenchmarkCopyBits is of a block as compressors make them.
func BenchmarkCopyBits(b *testing.B) {
	stream, w := make([]byte, 16<<10), bits{}
	b.SetBytes(int64(len(stream)))
	for at := int64(0); b.Loop(); at = (at + 11) % 64 {
		w.out = w.out[:0]
		w.copy(stream, at, int64(len(stream))*8-at)
	}
}

// cook makes data and a gzip stream of it by a recipe, two bytes a step: what is added, and how the compressor goes on.
func cook(t testing.TB, recipe []byte) (stream, data []byte) {
	var in, out bytes.Buffer
	w := gzip.NewWriter(&out)
	r := rand.New(rand.NewPCG(1, 2))
	for ; len(recipe) >= 2 && in.Len() < 1<<20; recipe = recipe[2:] {
		step, n := recipe[0], int(recipe[1])
		part := make([]byte, (n+1)*[]int{1, 50, 600, 2000}[step&3])
		switch step >> 2 & 7 {
		case 0: // zeros
		case 1, 2, 3:
			for i := range part {
				part[i] = byte(r.IntN(int(step>>2&7)*int(step>>2&7)*20)) | byte(i>>5&1)
			}
		case 4:
			copy(part, in.Bytes()[min(in.Len(), n*1000):])
		default:
			for i := range part {
				part[i] = "etaoin shrdlu"[min(r.IntN(13), r.IntN(13))]
			}
		}
		in.Write(part)
		w.Write(part)
		switch step >> 5 {
		case 1:
			w.Flush()
		case 2:
			w.Close()
			w, _ = gzip.NewWriterLevel(&out, n%12-2)
		}
	}
	w.Close()
	return out.Bytes(), in.Bytes()
}

// FuzzSplice cuts streams of all kinds anywhere.
func FuzzSplice(f *testing.F) {
	f.Add([]byte("\x17\xff\x17\xff\x57\xff\x07\xff\x37\xff"), uint32(1000), uint32(900_000))
	f.Add([]byte("\x17\xff\x17\xff\x0b\xff\x12\xff"), uint32(0), uint32(1<<20))
	f.Add([]byte("\x57\xff\x5b\x83\x4b\x10\x03\x77"), uint32(555), uint32(50_000))
	f.Fuzz(func(t *testing.T, recipe []byte, from, size uint32) {
		stream, data := cook(t, recipe)
		at := int(from) % (len(data) + 1)
		to := min(at+int(size%(1<<20)), len(data))
		newCutter(t, stream, data).splice(at, to, int(size>>20), from%2 == 0)
	})
}
