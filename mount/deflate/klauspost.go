//go:build !isal || !cgo

package deflate

import (
	"bufio"
	"errors"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
)

// Implementation names what does the work.
const Implementation = "klauspost/compress"

// Reader inflates one source at a time. The zero value is not usable; see NewReader.
type Reader struct {
	format Format
	in     *bufio.Reader
	z      io.Reader // nil: not begun
	zlib   io.Reader // for the next source: making one needs a valid header
	err    error
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader, f Format) *Reader {
	return &Reader{format: f, in: bufio.NewReaderSize(r, bufferSize)}
}

// Reset goes on with another source.
func (z *Reader) Reset(r io.Reader) {
	z.in.Reset(r)
	z.z, z.err = nil, nil
}

// Read implements io.Reader. io.EOF says that the checksum is right and the source at its end, too.
func (z *Reader) Read(p []byte) (n int, err error) {
	if z.err == nil && z.z == nil {
		z.err = known(z.begin())
	}
	if z.err != nil {
		return 0, z.err
	}
	n, err = z.z.Read(p)
	if err == io.EOF && z.format == Zlib {
		if _, err = z.in.ReadByte(); err == nil {
			err = ErrTrailing
		}
	}
	z.err = known(err)
	return n, z.err
}

func (z *Reader) begin() (err error) {
	switch reset, again := z.zlib.(zlib.Resetter); {
	case z.format == Gzip:
		z.z, err = gzip.NewReader(z.in)
	case again:
		z.z, err = z.zlib, reset.Reset(z.in, nil)
	default:
		z.zlib, err = zlib.NewReader(z.in)
		z.z = z.zlib
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// known translates the library's errors.
func known(err error) error {
	switch {
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, zlib.ErrChecksum):
		return ErrChecksum
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, zlib.ErrHeader), errors.Is(err, zlib.ErrDictionary), errors.As(err, new(flate.CorruptInputError)):
		return ErrFormat
	}
	return err
}

// Writer deflates into a zlib stream.
type Writer struct{ *zlib.Writer }

// NewWriter returns a Writer into w; Close ends the stream, and Reset begins another.
func NewWriter(w io.Writer) *Writer { return &Writer{zlib.NewWriter(w)} }
