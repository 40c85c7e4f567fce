package layer

import (
	"io"

	"github.com/flatrun/flatrun/mount/deflate"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// counter counts what is read through it.
type counter struct {
	io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

// content is a file of a tar that lies in a deflated stream: publish.Deflated.
type content struct {
	counter           // of the file as it is read
	tar     *counter  // of the tar, which lies in the stream as a whole
	blocks  *deflated // of the stream
	start   int64     // of the file in the tar
}

// source is a file's content as it is ingested.
func (t *tarReader) source(r io.Reader, size int64) io.Reader {
	if t.o.Source == nil || t.o.Source.blocks == nil {
		return r
	}
	t.o.Source.blocks.Forget(t.counter.n)
	if size < publish.MinDeflated {
		return r
	}
	return &content{counter{Reader: r}, &t.counter, t.o.Source.blocks, t.counter.n}
}

// Cut implements publish.Deflated. A sparse file has holes between what lies in the tar.
func (c *content) Cut(from, to int64, space []byte) *deflate.Pieces {
	if c.tar.n-c.start != c.n {
		return nil
	}
	return c.blocks.Cut(c.start+from, c.start+to, space)
}
