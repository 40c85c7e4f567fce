//go:build libdeflate && cgo

package deflate

/*
#cgo LDFLAGS: -ldeflate
#cgo noescape inflate_whole
#cgo nocallback inflate_whole
#include <libdeflate.h>

// C keeps no pointer into the buffers of Go.

struct inflated {
	enum libdeflate_result result;
	size_t used, made;
};

static struct inflated inflate_whole(struct libdeflate_decompressor *d, void *in, size_t in_len, void *out, size_t out_len) {
	struct inflated r = {0};
	r.result = libdeflate_zlib_decompress_ex(d, in, in_len, out, out_len, &r.used, &r.made);
	return r;
}
*/
import "C"

import (
	"errors"
	"runtime"
	"sync"
	"unsafe"
)

// WholeImplementation names what does the work of Inflate.
const WholeImplementation = "libdeflate"

// decompressor is the memory that the library works in.
type decompressor struct {
	d *C.struct_libdeflate_decompressor
}

var decompressors = sync.Pool{New: func() any {
	z := &decompressor{C.libdeflate_alloc_decompressor()}
	runtime.AddCleanup(z, func(d *C.struct_libdeflate_decompressor) { C.libdeflate_free_decompressor(d) }, z.d)
	return z
}}

// Inflate writes what src holds, one whole zlib stream, to the beginning of dst, and returns the number of bytes. Errors
// match ErrLong where dst is too short, ErrTrailing, and ErrFormat for all else that is wrong; dst is then undefined.
func Inflate(dst, src []byte) (n int, err error) {
	z := decompressors.Get().(*decompressor)
	if z.d == nil {
		return 0, errors.New("inflate: no memory")
	}
	defer decompressors.Put(z)
	r := C.inflate_whole(z.d, unsafe.Pointer(unsafe.SliceData(src)), C.size_t(len(src)), unsafe.Pointer(unsafe.SliceData(dst)), C.size_t(len(dst)))
	switch {
	case r.result == C.LIBDEFLATE_INSUFFICIENT_SPACE:
		return 0, ErrLong
	case r.result != C.LIBDEFLATE_SUCCESS:
		return 0, ErrFormat
	case int(r.used) != len(src):
		return 0, ErrTrailing
	}
	return int(r.made), nil
}
