package publish

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/flatrun/flatrun/mount/cas"
)

// cuts is the format's rule, byte by byte: after a cut at c nothing is tested
// before c+min, whose last 32 bytes are the state; at c+max it is cut anyway.
func cuts(data []byte, s ChunkSizes) []int {
	var all []int
	threshold := int32(uint32(math.MaxUint32) / uint32(s.Avg))
	c := 0
	for {
		x := uint32(0)
		for p := c + s.Min - 32; p < c+s.Min && p < len(data); p++ {
			x = x<<1 ^ uint32(data[p])
		}
		cut := -1
		for p := c + s.Min; p < len(data); p++ {
			if p == c+s.Max {
				cut = p
				break
			}
			x = x<<1 ^ uint32(data[p])
			d := int32(x) - math.MaxInt32
			if d < 0 {
				d = -d
			}
			if d < threshold {
				cut = p
				break
			}
		}
		if cut < 0 {
			return all
		}
		all = append(all, cut)
		c = cut
	}
}

func randomBytes(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestDetector(t *testing.T) {
	small := ChunkSizes{Min: 64, Avg: 200, Max: 500}
	for name, data := range map[string][]byte{
		"random": randomBytes(1<<16, 1), "zeros": make([]byte, 5000), "ones": bytes.Repeat([]byte{0xff}, 5000),
		"short": randomBytes(64, 2), "one more": randomBytes(65, 3), "max": make([]byte, 1000), "empty": nil,
	} {
		for _, piece := range []int{1, 7, 64, 1000, 1 << 20} {
			d := newDetector(small)
			var got []int
			base := 0
			for i := 0; i < len(data); {
				end := min(i+piece, len(data))
				if at := d.cut(data[i:end]); at >= 0 {
					i += at
					got = append(got, i)
					base = i
					continue
				}
				i = end
			}
			_ = base
			if want := cuts(data, small); len(got) != len(want) {
				t.Errorf("%s in pieces of %d: %d cuts, want %d", name, piece, len(got), len(want))
			} else {
				for i := range want {
					if got[i] != want[i] {
						t.Errorf("%s in pieces of %d: cut %d at %d, want %d", name, piece, i, got[i], want[i])
						break
					}
				}
			}
		}
	}
}

// TestDefaultChunks cuts at the default sizes.
func TestDefaultChunks(t *testing.T) {
	large(t)
	data := randomBytes(40<<20, 7)
	d := newDetector(defaultChunks)
	var got []int
	for i := 0; i < len(data); {
		end := min(i+pieceSize, len(data))
		if at := d.cut(data[i:end]); at >= 0 {
			i += at
			got = append(got, i)
		} else {
			i = end
		}
	}
	want := cuts(data, defaultChunks)
	if len(want) < 3 || len(got) != len(want) || got[0] != want[0] || got[len(got)-1] != want[len(want)-1] {
		t.Errorf("cuts at %v, want %v", got, want)
	}
}

// object reads an object of the storage.
func (r *testRepo) object(o cas.Object) []byte {
	r.t.Helper()
	var b bytes.Buffer
	if err := copyObject(context.Background(), r.s, o, &b); err != nil {
		r.t.Fatal(err)
	}
	return b.Bytes()
}

func TestIngest(t *testing.T) {
	r := newTestRepo(t)
	sizes := ChunkSizes{Min: 4 << 10, Avg: 8 << 10, Max: 16 << 10}
	for _, c := range []cas.Compression{cas.Zlib, cas.None} {
		for _, a := range []cas.Algorithm{cas.SHA1, cas.RMD160, cas.SHAKE128} {
			var stats IngestStats
			in := newIngester(objectStore{r.s, a, c}, sizes, 2, &stats)
			for n, data := range map[string][]byte{
				"empty": nil, "one": {1}, "min": randomBytes(4<<10, 1), "chunks": randomBytes(300<<10, 2),
				"large": make([]byte, smallFile+1), "piece": randomBytes(pieceSize, 3), "pieces": randomBytes(3*pieceSize, 4),
			} {
				for _, hint := range []int64{-1, int64(len(data)), int64(len(data)) / 2, int64(len(data)) + 10} {
					p, err := in.start(t.Context(), iotest.HalfReader(bytes.NewReader(data)), hint)
					if err != nil {
						t.Fatal(err)
					}
					got, err := p.Wait()
					if err != nil {
						t.Fatal(err)
					}
					checkContent(t, r, n, got, data)
				}
			}
			in.close()
			if stats.Objects.Load() == 0 || stats.Stored.Load() >= stats.Objects.Load() {
				t.Errorf("%d objects made, %d stored: the same contents came several times", stats.Objects.Load(), stats.Stored.Load())
			}
		}
	}
}

func checkContent(t *testing.T, r *testRepo, name string, got Content, data []byte) {
	t.Helper()
	if got.Size != int64(len(data)) {
		t.Errorf("%s: size %d, want %d", name, got.Size, len(data))
	}
	var read []byte
	if len(got.Chunks) == 0 {
		read = r.object(cas.Object{Hash: got.Hash, Compression: got.Compression, Size: got.Size})
	} else if !got.Hash.IsZero() {
		t.Errorf("%s: has both chunks and a hash", name)
	}
	for _, k := range got.Chunks {
		if k.Offset != int64(len(read)) {
			t.Errorf("%s: chunk at %d, want %d", name, k.Offset, len(read))
		}
		read = append(read, r.object(cas.Object{Hash: k.Hash, Suffix: cas.PartialSuffix, Compression: got.Compression, Size: k.Size})...)
	}
	if !bytes.Equal(read, data) {
		t.Errorf("%s: content differs", name)
	}
}

// TestIngestErrors: a reader that fails gives its error, not a shorter file.
func TestIngestErrors(t *testing.T) {
	r := newTestRepo(t)
	tx := r.begin()
	defer tx.Abort()
	for _, cause := range []error{io.ErrUnexpectedEOF, errors.New("network down")} {
		for _, hint := range []int64{-1, 10, 1000, 2 << 20} {
			in := io.MultiReader(strings.NewReader("some bytes"), iotest.ErrReader(cause))
			if _, err := tx.Start(t.Context(), in, hint); !errors.Is(err, cause) {
				t.Errorf("hint %d: got %v, want %v", hint, err, cause)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tx.Start(ctx, bytes.NewReader(make([]byte, 20<<20)), -1); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	// All buffers must be back, or this would hang.
	for range 12 {
		if _, err := tx.Ingest(t.Context(), bytes.NewReader(make([]byte, 2<<20))); err != nil {
			t.Fatal(err)
		}
	}
	tx.Abort()
	if _, err := tx.Ingest(t.Context(), strings.NewReader("late")); err == nil {
		t.Error("a file is ingested after the end of the transaction")
	}
}

// BenchmarkIngest measures compress + hash + store of text-like data.
func BenchmarkIngest(b *testing.B) {
	r := newTestRepo(b)
	tx := r.begin()
	defer tx.Abort()
	words := strings.Fields("the quick brown fox jumps over the lazy dog while catalogs nest in signed revisions")
	rnd := rand.New(rand.NewPCG(1, 2))
	var text bytes.Buffer
	for text.Len() < 64<<10 {
		text.WriteString(words[rnd.IntN(len(words))])
		text.WriteByte(byte(rnd.Uint32()))
	}
	b.SetBytes(int64(text.Len()))
	var last []*Pending
	n := 0
	for b.Loop() {
		n++
		data := append(text.Bytes()[:text.Len():text.Len()], byte(n), byte(n>>8), byte(n>>16))
		p, err := tx.Start(context.Background(), bytes.NewReader(data), int64(len(data)))
		if err != nil {
			b.Fatal(err)
		}
		last = append(last, p)
	}
	for _, p := range last {
		if _, err := p.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}
