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

// level is the slowest of 1 to 12 that takes no longer than klauspost/compress at its default: objects are made once and fetched
// for years. Of 1.5 GB of programs and libraries, against zlib's level 6:
//
//	klauspost/compress   6.1 % more bytes   140 MB/s
//	ISA-L 2             12.9 %              550
//	libdeflate 1         8.5 %              240
//	libdeflate 2         4.1 %              180
//	libdeflate 4         2.2 %              155
//	libdeflate 5         0.2 %              130
//
// Another level gives objects other names: what a repository has already would be stored again.
const level = 4

// compressor is the memory that the library works in.
type compressor struct {
	c *C.struct_libdeflate_compressor
}

func newPool(level C.int) *sync.Pool {
	return &sync.Pool{New: func() any {
		z := &compressor{C.libdeflate_alloc_compressor(level)}
		runtime.AddCleanup(z, func(c *C.struct_libdeflate_compressor) { C.libdeflate_free_compressor(c) }, z.c)
		return z
	}}
}

var compressors, storers = newPool(level), newPool(0)

// Deflate returns data as one zlib stream, which lies in out if that has room for Bound bytes. Equal data give equal streams.
func Deflate(out, data []byte) ([]byte, error) {
	z := compressors.Get().(*compressor)
	defer compressors.Put(z)
	// Without a compressor, the library's bound holds for any.
	bound := max(Bound(len(data)), int(C.libdeflate_zlib_compress_bound(nil, C.size_t(len(data)))))
	if out = out[:cap(out)]; len(out) < bound {
		out = make([]byte, bound)
	}
	if z.c != nil && z.isDense(out, data) {
		z = storers.Get().(*compressor)
		defer storers.Put(z)
	}
	if z.c == nil {
		return nil, errors.New("deflate: no memory")
	}
	n := z.deflate(out, data)
	if n == 0 {
		return nil, fmt.Errorf("deflate: %d bytes do not fit in %d", len(data), len(out))
	}
	return out[:n], nil
}

// deflateAs is Deflate of a part of a content of size bytes.
func deflateAs(out, data []byte, size int) ([]byte, error) { return Deflate(out, data) }

// deflate returns 0 if out is too short.
func (z *compressor) deflate(out, data []byte) int {
	return int(C.deflate_whole(z.c, unsafe.Pointer(unsafe.SliceData(data)), C.size_t(len(data)), unsafe.Pointer(unsafe.SliceData(out)), C.size_t(len(out))))
}

// Of so many bytes one sample is tried; in shorter contents there is less to win.
const sampled, sample = 128 << 10, 16 << 10

// isDense tells contents that do not get smaller, as archives and media are: none of the samples does by one in a hundred.
// To find that out of all of it would take eight times as long. Samples are deflated into out. One is the end: an archive's
// index may be there.
func (z *compressor) isDense(out, data []byte) bool {
	for at := 0; at+sampled <= len(data); at += sampled {
		if !z.isDenseSample(out, data[at:at+sample]) {
			return false
		}
	}
	return len(data) >= sampled && z.isDenseSample(out, data[len(data)-sample:])
}

func (z *compressor) isDenseSample(out, s []byte) bool {
	return isEven(s) && z.deflate(out, s) >= sample-sample/100
}

// isEven tells, quickly, where some bytes are much more frequent than others: these do get smaller.
func isEven(b []byte) bool {
	var count [256]int
	for _, c := range b {
		count[c]++
	}
	squares := 0
	for _, n := range count {
		squares += n * n
	}
	return squares < len(b)*len(b)/len(count)*5/4
}
