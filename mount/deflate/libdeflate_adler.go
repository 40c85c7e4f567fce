//go:build libdeflate && cgo

package deflate

/*
#cgo LDFLAGS: -ldeflate
#cgo noescape add_adler
#cgo nocallback add_adler
#include <libdeflate.h>

static uint32_t add_adler(uint32_t sum, void *in, size_t in_len) { return libdeflate_adler32(sum, in, in_len); }
*/
import "C"

import "unsafe"

// addAdler goes on with the checksum of a zlib stream, which is 1 of nothing.
func addAdler(sum uint32, data []byte) uint32 {
	return uint32(C.add_adler(C.uint32_t(sum), unsafe.Pointer(unsafe.SliceData(data)), C.size_t(len(data))))
}
