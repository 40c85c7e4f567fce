//go:build !libdeflate || !cgo

package deflate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
)

// WholeImplementation names what does the work of Inflate.
const WholeImplementation = Implementation

var readers = sync.Pool{New: func() any { return NewReader(nil, Zlib) }}

// Inflate writes what src holds, one whole zlib stream, to the beginning of dst, and returns the number of bytes. Errors
// match ErrLong where dst is too short, ErrTrailing, and ErrFormat for all else that is wrong; dst is then undefined.
func Inflate(dst, src []byte) (n int, err error) {
	z := readers.Get().(*Reader)
	defer func() { z.Reset(nil); readers.Put(z) }()
	z.Reset(bytes.NewReader(src))
	for err == nil && n < len(dst) {
		var k int
		k, err = z.Read(dst[n:])
		n += k
	}
	for more := [1]byte{}; err == nil; { // what ends the stream may come with no bytes
		var k int
		if k, err = z.Read(more[:]); k > 0 {
			return 0, ErrLong
		}
	}
	switch {
	case err == io.EOF:
		return n, nil
	case errors.Is(err, ErrTrailing), errors.Is(err, ErrFormat):
		return 0, err
	}
	return 0, fmt.Errorf("%w: %w", ErrFormat, err)
}
