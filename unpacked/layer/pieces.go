package layer

import (
	"io"

	"github.com/flatrun/flatrun/mount/deflate"
)

// Counter knows how far its reader was read. It hides Seek, so that a tar reader reads what it skips and N is the position of
// the entry's content.
type Counter struct {
	R io.Reader
	N int64 // bytes
}

// Read implements io.Reader.
func (c *Counter) Read(p []byte) (int, error) {
	n, err := c.R.Read(p)
	c.N += int64(n)
	return n, err
}

// content is a file of a tar that lies in a deflated stream: publish.Deflated.
type content struct {
	Counter                      // of the file as it is read
	tar     *Counter             // of the tar, which lies in the stream as a whole
	blocks  *deflate.BlockReader // of the stream
	start   int64                // of the file in the tar
}

// source is a file's content as it is ingested.
func (t *tarReader) source(r io.Reader) io.Reader {
	if t.o.Source == nil || t.o.Source.blocks == nil {
		return r
	}
	t.o.Source.blocks.Forget(t.counter.N)
	return &content{Counter{R: r}, &t.counter, t.o.Source.blocks, t.counter.N}
}

// Cut implements publish.Deflated. A sparse file has holes between what lies in the tar.
func (c *content) Cut(from, to int64, space []byte) *deflate.Pieces {
	if c.tar.N-c.start != c.N {
		return nil
	}
	return c.blocks.Cut(c.start+from, c.start+to, space)
}
