//go:build isal && cgo

package deflate

/*
#cgo pkg-config: libisal
#include <stdlib.h>
#include <string.h>
#include <isa-l/igzip_lib.h>

// C keeps no pointer into the buffers of Go from one call to the next.

static void inflate_reset(struct inflate_state *z, int wrapper) {
	isal_inflate_init(z);
	z->crc_flag = wrapper;
}

static int inflate(struct inflate_state *z, uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t out_len, int *used, uint32_t *made) {
	z->next_in = in;
	z->avail_in = in_len;
	z->next_out = out;
	z->avail_out = out_len;
	int rc = isal_inflate(z);
	*used = z->next_in - in;
	*made = out_len - z->avail_out;
	z->next_in = z->next_out = NULL;
	if (rc == ISAL_DECOMP_OK && z->block_state == ISAL_BLOCK_FINISH)
		return 100;
	return rc;
}

struct deflater {
	struct isal_zstream z;
	uint8_t level[ISAL_DEF_LVL2_LARGE];
};

static void deflate_reset(struct deflater *d) {
	isal_deflate_init(&d->z);
	d->z.level = 2;
	d->z.level_buf = d->level;
	d->z.level_buf_size = sizeof d->level;
	d->z.gzip_flag = IGZIP_ZLIB;
}

static int deflate(struct deflater *d, uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t out_len, int flush, int end, uint32_t *used, uint32_t *made) {
	d->z.next_in = in;
	d->z.avail_in = in_len;
	d->z.next_out = out;
	d->z.avail_out = out_len;
	d->z.flush = flush;
	d->z.end_of_stream = end;
	int rc = isal_deflate(&d->z);
	*used = in_len - d->z.avail_in;
	*made = out_len - d->z.avail_out;
	d->z.next_in = d->z.next_out = NULL;
	return rc;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"unsafe"
)

// Implementation names what does the work.
const Implementation = "ISA-L"

// finished is what inflate returns at the end of a stream; ISA-L's own codes are smaller.
const finished = 100

// kept is how many bytes that were consumed stay in front of new ones: at the end of a stream ISA-L gives back what it has
// read too far, at most the eight bytes of its bit buffer, by moving its pointer back.
const kept = 8

// Reader inflates one source at a time. The zero value is not usable; see NewReader.
type Reader struct {
	state   *C.struct_inflate_state
	wrapper C.int
	r       io.Reader
	buf     [kept + bufferSize]byte
	at, end int   // buf[at:end] waits to be inflated
	srcErr  error // what r ended with
	members int   // complete ones
	err     error
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader, f Format) *Reader {
	z := &Reader{wrapper: C.ISAL_ZLIB, state: (*C.struct_inflate_state)(C.malloc(C.sizeof_struct_inflate_state))}
	if f == Gzip {
		z.wrapper = C.ISAL_GZIP
	}
	runtime.AddCleanup(z, func(p unsafe.Pointer) { C.free(p) }, unsafe.Pointer(z.state))
	z.Reset(r)
	return z
}

// Reset goes on with another source.
func (z *Reader) Reset(r io.Reader) {
	C.inflate_reset(z.state, z.wrapper)
	z.r, z.at, z.end, z.srcErr, z.members, z.err = r, kept, kept, nil, 0, nil
}

// Read implements io.Reader. io.EOF says that the checksum is right and the source at its end, too.
func (z *Reader) Read(p []byte) (n int, err error) {
	for n == 0 && z.err == nil && len(p) > 0 {
		n, z.err = z.inflate(p)
	}
	if n > 0 { // what went wrong behind it is told the next time
		return n, nil
	}
	return 0, z.err
}

// inflate makes a step: some bytes, or more input, or the error that ends the stream.
func (z *Reader) inflate(p []byte) (n int, err error) {
	var used C.int
	var made C.uint32_t
	rc := C.inflate(z.state, bytePtr(z.buf[z.at:]), C.uint32_t(z.end-z.at), bytePtr(p), C.uint32_t(min(len(p), 1<<30)), &used, &made)
	z.at, n = z.at+int(used), int(made)
	runtime.KeepAlive(z)
	switch rc {
	case finished:
		return n, z.member()
	case C.ISAL_DECOMP_OK, C.ISAL_END_INPUT, C.ISAL_OUT_OVERFLOW:
		if n > 0 || z.at < z.end {
			return n, nil
		}
		if err = z.fill(); err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	case C.ISAL_INCORRECT_CHECKSUM:
		return n, ErrChecksum
	}
	return n, ErrFormat
}

// member ends one and looks what follows.
func (z *Reader) member() error {
	z.members++
	if z.at == z.end {
		if err := z.fill(); err != nil {
			return err
		}
	}
	if z.wrapper == C.ISAL_ZLIB {
		return ErrTrailing
	}
	C.inflate_reset(z.state, z.wrapper)
	return nil
}

// fill reads more of the source, all of whose bytes are consumed.
func (z *Reader) fill() error {
	if z.srcErr != nil {
		return z.srcErr
	}
	copy(z.buf[:kept], z.buf[z.end-kept:z.end])
	z.at, z.end = kept, kept
	for z.end == kept && z.srcErr == nil {
		var n int
		n, z.srcErr = z.r.Read(z.buf[kept:])
		z.end += n
	}
	if z.end > kept {
		return nil
	}
	return z.srcErr
}

// Writer deflates into a zlib stream.
type Writer struct {
	state *C.struct_deflater
	w     io.Writer
	out   [bufferSize]byte
	err   error
}

// NewWriter returns a Writer into w; Close ends the stream, and Reset begins another.
func NewWriter(w io.Writer) *Writer {
	z := &Writer{state: (*C.struct_deflater)(C.malloc(C.sizeof_struct_deflater))}
	runtime.AddCleanup(z, func(p unsafe.Pointer) { C.free(p) }, unsafe.Pointer(z.state))
	z.Reset(w)
	return z
}

// newSmallWriter returns a Writer for small contents, which is like any other.
func newSmallWriter() *Writer { return NewWriter(nil) }

// Reset begins another stream into w.
func (z *Writer) Reset(w io.Writer) {
	C.deflate_reset(z.state)
	z.w, z.err = w, nil
}

// Write implements io.Writer.
func (z *Writer) Write(p []byte) (n int, err error) { return z.deflate(p, C.NO_FLUSH, 0) }

// Flush writes all that came so far, up to a whole byte.
func (z *Writer) Flush() error {
	_, err := z.deflate(nil, C.SYNC_FLUSH, 0)
	return err
}

// Close ends the stream and writes what is left of it; it leaves the writer below open.
func (z *Writer) Close() error {
	_, err := z.deflate(nil, C.NO_FLUSH, 1)
	if err == nil {
		z.err = errClosed
	}
	return err
}

var errClosed = errors.New("deflate: write after close")

// deflate compresses p, and what ISA-L holds back if it is to flush that or it is the end.
func (z *Writer) deflate(p []byte, flush, end C.int) (n int, err error) {
	for full := true; z.err == nil && (n < len(p) || full); {
		var used, made C.uint32_t
		rc := C.deflate(z.state, bytePtr(p[n:]), C.uint32_t(min(len(p)-n, 1<<30)), bytePtr(z.out[:]), bufferSize, flush, end, &used, &made)
		n, full = n+int(used), made == bufferSize
		if rc != C.COMP_OK {
			z.err = fmt.Errorf("deflate: ISA-L fails with %d", int(rc))
		} else if made > 0 {
			_, z.err = z.w.Write(z.out[:made])
		}
		runtime.KeepAlive(z)
	}
	return n, z.err
}

// bytePtr is the address of the first byte, for the length of a call.
func bytePtr(b []byte) *C.uint8_t { return (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(b))) }
