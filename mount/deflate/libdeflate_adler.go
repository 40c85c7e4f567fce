//go:build libdeflate && cgo

package deflate

/*
#cgo LDFLAGS: -ldeflate
#cgo noescape adler
#cgo nocallback adler
#include <libdeflate.h>

static uint32_t adler(void *in, size_t in_len) { return libdeflate_adler32(1, in, in_len); }
*/
import "C"

import "unsafe"

// adler is the checksum of a zlib stream of data.
func adler(data []byte) uint32 {
	return uint32(C.adler(unsafe.Pointer(unsafe.SliceData(data)), C.size_t(len(data))))
}
