//go:build !isal || !cgo

package deflate

import (
	"io"

	"github.com/klauspost/compress/zlib"
)

// Implementation names what does the work.
const Implementation = "klauspost/compress"

// Reader inflates one source at a time. The zero value is not usable; see NewReader.
type Reader = BlockReader

// NewReader returns a Reader of r.
func NewReader(r io.Reader, f Format) *Reader { return NewBlockReader(r, f) }

// Writer deflates into a zlib stream.
type Writer struct{ *zlib.Writer }

// NewWriter returns a Writer into w; Close ends the stream, and Reset begins another.
func NewWriter(w io.Writer) *Writer { return &Writer{zlib.NewWriter(w)} }
