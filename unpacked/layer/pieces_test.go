package layer

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/deflate"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// words is text of n bytes that compresses as programs do.
func words(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "%x and %d, ", r.Uint64()>>r.IntN(64), r.IntN(1000))
	}
	return b.Bytes()[:n]
}

// pieceCounter counts the blocks that files' readers give.
type pieceCounter struct {
	*publish.Tx
	asked, given int
}

type countedPieces struct {
	publish.Deflated
	c *pieceCounter
}

func (c countedPieces) Cut(from, to int64, space []byte) *deflate.Pieces {
	p := c.Deflated.Cut(from, to, space)
	c.c.asked++
	if p != nil {
		c.c.given++
	}
	return p
}

func (c *pieceCounter) Start(ctx context.Context, r io.Reader, size int64) (*publish.Pending, error) {
	if d, ok := r.(publish.Deflated); ok {
		r = countedPieces{d, c}
	}
	return c.Tx.Start(ctx, r, size)
}

// TestReadDeflated reads a gzip layer of small, large and chunked files, one of them with holes: what is stored inflates to
// their contents, and most of the objects are made of the layer's own blocks.
func TestReadDeflated(t *testing.T) {
	want := map[string][]byte{}
	dir := t.TempDir()
	for i, n := range []int{0, 10, 100_000, 255 << 10, 300_000, 900_000, 1 << 20, 1<<20 + 1, 3_000_000, 5_000_000, 700} {
		want[fmt.Sprintf("/f%02d", i)] = words(n, uint64(i))
	}
	want["/media"] = make([]byte, 2_000_000)
	rand.NewChaCha8([32]byte{}).Read(want["/media"])
	for name, b := range want {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	holes, err := os.Create(filepath.Join(dir, "holes"))
	if err != nil {
		t.Fatal(err)
	}
	defer holes.Close()
	for i := range int64(3) {
		if _, err := holes.WriteAt(words(700_000, 100+uint64(i)), 2_000_000*i); err != nil {
			t.Fatal(err)
		}
	}
	if want["/holes"], err = os.ReadFile(holes.Name()); err != nil {
		t.Fatal(err)
	}
	in, err := exec.Command("tar", "-C", dir, "--sparse", "--sort=name", "-czf", "-", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	storage := t.TempDir()
	tx := &pieceCounter{Tx: transactionIn(t, storage, publish.ChunkSizes{Min: 400_000, Avg: 800_000, Max: 1_600_000})}
	for _, it := range readDeflated(t, tx, in) {
		if got := storedContent(t, storage, it); !bytes.Equal(got, want[it.Path]) {
			t.Errorf("%s: %d bytes are stored, want %d", it.Path, len(got), len(want[it.Path]))
		}
		delete(want, it.Path)
	}
	if len(want) > 0 {
		t.Errorf("%d files are missing", len(want))
	}
	if tx.asked < 12 || tx.given < tx.asked/2 {
		t.Errorf("of %d objects %d were given blocks", tx.asked, tx.given)
	}
}

// TestSharedDeflated has the same files in two layers whose compressor found other blocks: their objects are the same.
func TestSharedDeflated(t *testing.T) {
	tx := transactionChunks(t, publish.ChunkSizes{Min: 400_000, Avg: 800_000, Max: 1_600_000})
	var trees []string
	for _, before := range [][]byte{nil, words(50_000, 77)} {
		var lines []line
		for i, content := range [][]byte{before, words(700_000, 1), words(900_000, 2), words(4_000_000, 3)} {
			lines = append(lines, line{name: fmt.Sprint("f", i), typ: tar.TypeReg, target: string(content)})
		}
		tree := ""
		for _, it := range readDeflated(t, tx, gzipped(archive(t, lines...))) {
			if it.Entry.Size > 50_000 {
				tree += fmt.Sprintln(it.Path, it.Entry.Hash, it.Chunks)
			}
		}
		trees = append(trees, tree)
	}
	if trees[0] != trees[1] {
		t.Errorf("the second layer has objects of its own:\n%s%s", trees[0], trees[1])
	}
}

// readDeflated reads a gzip layer with its blocks and returns its files.
func readDeflated(t *testing.T, to Ingester, in []byte) []publish.Item {
	t.Helper()
	plain, err := Decompress(bytes.NewReader(in), 0)
	if err != nil {
		t.Fatal(err)
	}
	return filesOf(t, to, plain, plain)
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b)
	z.Close()
	return out.Bytes()
}

// storedContent inflates the objects of a file.
func storedContent(t *testing.T, storage string, it publish.Item) (all []byte) {
	t.Helper()
	objects := []cas.Object{{Hash: it.Entry.Hash}}
	if len(it.Chunks) > 0 {
		objects = nil
	}
	for _, c := range it.Chunks {
		objects = append(objects, cas.Object{Hash: c.Hash, Suffix: cas.PartialSuffix})
	}
	for _, o := range objects {
		f, err := os.Open(filepath.Join(storage, o.Name()))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := zlib.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(z)
		if err != nil {
			t.Fatalf("%s, object %s: %v", it.Path, o.Name(), err)
		}
		all = append(all, b...)
	}
	return all
}

// BenchmarkReadDeflated has one file of 64 MB in a layer, with and without its blocks.
func BenchmarkReadDeflated(b *testing.B) {
	const size = 64 << 20
	in := gzipped(archive(b, line{name: "file", typ: tar.TypeReg, target: string(words(size, 1))}))
	for _, taken := range []bool{true, false} {
		b.Run(fmt.Sprintf("blocks=%v", taken), func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				b.StopTimer()
				tx := transaction(b)
				plain, err := Decompress(bytes.NewReader(in), 0)
				if err != nil {
					b.Fatal(err)
				}
				o := Options{Scratch: b.TempDir()}
				if taken {
					o.Source = plain
				}
				b.StartTimer()
				rows, err := Read(b.Context(), tx, plain, o)
				if err != nil {
					b.Fatal(err)
				}
				rows.Close()
			}
		})
	}
}
