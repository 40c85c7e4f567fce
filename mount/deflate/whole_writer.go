//go:build !libdeflate || isal || !cgo

package deflate

import (
	"bytes"
	"sync"
)

var (
	writers      = sync.Pool{New: func() any { return NewWriter(nil) }}
	smallWriters = sync.Pool{New: func() any { return newSmallWriter() }}
)

// small is up to which size a content is deflated by a small writer.
const small = 256 << 10

// Deflate returns data as one zlib stream, which lies in out if that has room for Bound bytes. Equal data give equal streams.
func Deflate(out, data []byte) ([]byte, error) { return deflateAs(out, data, len(data)) }

// deflateAs is Deflate of a part of a content of size bytes.
func deflateAs(out, data []byte, size int) ([]byte, error) {
	pool := &writers
	if size < small {
		pool = &smallWriters
	}
	z := pool.Get().(*Writer)
	defer func() { z.Reset(nil); pool.Put(z) }()
	b := bytes.NewBuffer(out[:0])
	z.Reset(b)
	if _, err := z.Write(data); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
