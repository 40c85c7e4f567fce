package layer

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/flatrun/flatrun/mount/deflate"
)

// Decompress tells by the first bytes of r how it is compressed, gzip, zstd or not at all, and gives the plain stream.
// What media types and file names say is not asked: both are wrong too often.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 128<<10)
	magic, err := b.Peek(4)
	if err != nil && len(magic) == 0 && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return io.NopCloser(deflate.NewReader(b, deflate.Gzip)), nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(b), nil
}

// The bounds of what is taken for a decompression bomb: no real layer of this size is a row of zeros.
const (
	bombBytes = 8 << 30
	bombRatio = 400
)

// guard fails once a stream has grown out of all proportion to the compressed bytes it came from.
type guard struct {
	r          io.Reader
	n          int64
	compressed func() int64 // nil: not known, no bound
}

func (g *guard) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	g.n += int64(n)
	if g.compressed != nil && g.n > bombBytes && g.n/bombRatio > g.compressed() {
		return n, fmt.Errorf("%d bytes out of %d compressed ones: refused as a decompression bomb", g.n, g.compressed())
	}
	return n, err
}
