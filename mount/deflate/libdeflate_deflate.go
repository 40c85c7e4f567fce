//go:build libdeflate && !isal && cgo

package deflate

/*
#cgo LDFLAGS: -ldeflate
#cgo noescape deflate_whole
#cgo nocallback deflate_whole
#include <libdeflate.h>

// C keeps no pointer into the buffers of Go.

static size_t deflate_whole(struct libdeflate_compressor *c, void *in, size_t in_len, void *out, size_t out_len) {
	return libdeflate_zlib_compress(c, in, in_len, out, out_len);
}
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"
)

// level is that of 1 to 12 which makes objects both smaller and sooner than klauspost/compress at its default. Of 1.5 GB of
// programs and libraries, against zlib's level 6:
//
//	klauspost/compress   6.1 % more bytes   140 MB/s
//	ISA-L 2             12.9 %              550
//	libdeflate 1         8.5 %              240
//	libdeflate 2         4.1 %              180
//	libdeflate 4         2.2 %              155
//	libdeflate 5         0.2 %              130
//
// Another level gives objects other names: what a repository has already would be stored again.
const level = 2

// compressor is the memory that the library works in.
type compressor struct {
	c *C.struct_libdeflate_compressor
}

var compressors = sync.Pool{New: func() any {
	z := &compressor{C.libdeflate_alloc_compressor(level)}
	runtime.AddCleanup(z, func(c *C.struct_libdeflate_compressor) { C.libdeflate_free_compressor(c) }, z.c)
	return z
}}

// Deflate returns data as one zlib stream, which lies in out if that has room for Bound bytes. Equal data give equal streams.
func Deflate(out, data []byte) ([]byte, error) {
	z := compressors.Get().(*compressor)
	if z.c == nil {
		return nil, errors.New("deflate: no memory")
	}
	defer compressors.Put(z)
	bound := max(Bound(len(data)), int(C.libdeflate_zlib_compress_bound(z.c, C.size_t(len(data)))))
	if out = out[:cap(out)]; len(out) < bound {
		out = make([]byte, bound)
	}
	n := C.deflate_whole(z.c, unsafe.Pointer(unsafe.SliceData(data)), C.size_t(len(data)), unsafe.Pointer(unsafe.SliceData(out)), C.size_t(len(out)))
	if n == 0 {
		return nil, fmt.Errorf("deflate: %d bytes do not fit in %d", len(data), len(out))
	}
	return out[:n], nil
}
