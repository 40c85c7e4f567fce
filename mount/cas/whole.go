package cas

import (
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/flatrun/flatrun/mount/deflate"
)

// A zlib object of known size is decompressed in one piece, after all of it has come and has proved to be what its name
// says: that takes a third of the time of a stream, and no byte that is not signed for reaches the decompressor. What this
// takes of memory is bounded; larger objects, and those that find no room, are decompressed as a stream while they come.
const (
	wholeMax   = 16 << 20  // bytes of an object; chunks of files have 16 MiB at most, unless somebody wanted otherwise
	smallWhole = 256 << 10 // up to here there are as many as there are transfers
	wholeRoom  = 80 << 20  // bytes that all larger ones may have together while they come, decompressed
)

var (
	wholeHeld atomic.Int64
	// inflating bounds the buffers of those that are complete. Nobody waits for the network in there.
	inflating = make(chan struct{}, min(runtime.GOMAXPROCS(0), 4))
)

// holdWhole answers whether o is to be decompressed in one piece, and then what ends that.
func holdWhole(o Object) (release func(), ok bool) {
	switch {
	case o.Compression != Zlib || o.Size < 0 || o.Size > wholeMax:
		return nil, false
	case o.Size <= smallWhole:
		return func() {}, true
	}
	release = func() { wholeHeld.Add(-o.Size) }
	if wholeHeld.Add(o.Size) > wholeRoom {
		release()
		return nil, false
	}
	return release, true
}

// Buffers of stored bytes and of decompressed ones. They grow to what they were needed for, so the small ones are kept apart.
var smallBuffers, largeBuffers sync.Pool

func takeBuffer(size int64) (b *[]byte, put func()) {
	pool := &largeBuffers
	if size <= smallWhole {
		pool = &smallBuffers
	}
	if b, _ = pool.Get().(*[]byte); b == nil {
		b = new([]byte)
	}
	return b, func() { pool.Put(b) }
}

// decodeWhole reads src to its end, checks its hash, and only then decompresses it into w.
func decodeWhole(w io.Writer, src *source, o Object) (n int64, err error) {
	in, put := takeBuffer(o.Size)
	defer put()
	*in = slices.Grow((*in)[:0], int(o.Size/2)+64<<10) // few objects shrink less
	if err := gather(in, src); err != nil {
		return 0, err
	}
	if err := src.check(o); err != nil {
		return 0, err
	}
	if o.Size > smallWhole {
		inflating <- struct{}{}
		defer func() { <-inflating }()
	}
	out, put := takeBuffer(o.Size)
	defer put()
	*out = slices.Grow((*out)[:0], int(o.Size))[:o.Size]
	made, err := deflate.Inflate(*out, *in)
	if err != nil {
		return 0, err
	}
	if _, err := w.Write((*out)[:made]); err != nil {
		return 0, writeError{err}
	}
	return int64(made), nil
}

// gather reads src, which is bounded, to its end.
func gather(b *[]byte, src *source) error {
	for {
		if cap(*b)-len(*b) < 32<<10 {
			*b = slices.Grow(*b, max(len(*b), 32<<10)) // by steps of append many copies would be left behind
		}
		n, err := src.Read((*b)[len(*b):cap(*b)])
		*b = (*b)[:len(*b)+n]
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
