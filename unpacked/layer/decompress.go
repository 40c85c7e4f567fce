package layer

import (
	"bufio"
	"bytes"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/flatrun/flatrun/mount/deflate"
)

// Decompress tells by the first bytes of r how it is compressed, gzip, zstd or not at all, and gives the plain stream.
// What media types and file names say is not asked: both are wrong too often. The stream fails once more than limit bytes
// came out of it, the default if limit is 0: a few hundred kilobytes of gzip may be as many megabytes, of zstd a lot more.
func Decompress(r io.Reader, limit int64) (*Plain, error) {
	plain, blocks, err := decompress(r)
	if err != nil {
		return nil, err
	}
	return &Plain{newLimited(plain, limit), blocks}, nil
}

// Plain is the plain stream of a layer.
type Plain struct {
	io.ReadCloser
	blocks *deflate.BlockReader // nil if it was not gzip
}

// Sum has h given all that is read from now on, before anything is. It is complete when wait has returned, which is to be called
// after io.EOF.
func (p *Plain) Sum(h hash.Hash) (wait func()) {
	if p.blocks != nil {
		return p.blocks.Sum(h)
	}
	p.ReadCloser = struct {
		io.Reader
		io.Closer
	}{io.TeeReader(p.ReadCloser, h), p.ReadCloser}
	return func() {}
}

func decompress(r io.Reader) (io.ReadCloser, *deflate.BlockReader, error) {
	b := bufio.NewReaderSize(r, 128<<10)
	magic, err := b.Peek(4)
	if err != nil && len(magic) == 0 && err != io.EOF {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z := deflate.NewBlockReader(b, deflate.Gzip)
		z.KeepBlocks()
		return io.NopCloser(z), z, nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, nil, fmt.Errorf("zstd: %w", err)
		}
		return z.IOReadCloser(), nil, nil
	}
	return io.NopCloser(b), nil, nil
}
