package cas

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/deflate"
)

// A zlib object of known size is decompressed in one piece, after all of it has come and has proved to be what its name
// says: that takes a third of the time of a stream, and no byte that is not signed for reaches the decompressor. What this
// takes of memory is bounded; larger objects, and those that find no room, are decompressed as a stream while they come.
const (
	wholeMax   = 16 << 20  // bytes of an object; chunks of files have 16 MiB at most, unless somebody wanted otherwise
	smallWhole = 256 << 10 // up to here there are as many as there are transfers
	wholeRoom  = 40 << 20  // bytes that all larger ones may have together while they come, decompressed
)

var (
	wholeHeld atomic.Int64
	// inflating bounds the buffers of those that are complete. Nobody waits for the network in there.
	inflating = make(chan struct{}, 2)
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

// smallBuffers are of up to smallWhole bytes.
var smallBuffers sync.Pool

// takeBuffer returns an empty buffer with room for an object of size bytes, stored or decompressed, and what gives it back.
func takeBuffer(size int64) (b []byte, put func(), err error) {
	room := int(size + size/64 + 4<<10) // zlib adds less than that to what cannot be compressed
	if size > smallWhole {
		b, err = largeBuffers.take(room)
		return b, func() { largeBuffers.put(b) }, err
	}
	small, _ := smallBuffers.Get().(*[]byte)
	if small == nil {
		small = new([]byte)
	}
	*small = slices.Grow((*small)[:0], room)
	return *small, func() { smallBuffers.Put(small) }, nil
}

// shelf keeps memory of its own as long as any of it is in use, never more than was in use at once. In the heap, where what
// was given up stays until the collector comes, the same buffers took three times as much.
type shelf struct {
	mu   sync.Mutex
	used int
	free [][]byte
}

var largeBuffers shelf

func (s *shelf) take(size int) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.free, func(b []byte) bool { return cap(b) >= size }); i >= 0 {
		b := s.free[i]
		s.free = slices.Delete(s.free, i, i+1)
		s.used++
		return b[:0], nil
	}
	if n := len(s.free); n > 0 { // the larger one takes its place
		unmap(s.free[n-1])
		s.free = s.free[:n-1]
	}
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("memory for an object of %d bytes: %w", size, err)
	}
	s.used++
	return b[:0], nil
}

func (s *shelf) put(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, b)
	if s.used--; s.used > 0 {
		return
	}
	for _, b := range s.free {
		unmap(b)
	}
	s.free = nil
}

// unmap gives memory back. Nothing but an argument that is wrong can fail here.
func unmap(b []byte) {
	if err := unix.Munmap(b[:cap(b)]); err != nil {
		panic(err)
	}
}

// decodeWhole reads src to its end, checks its hash, and only then decompresses it into w.
func decodeWhole(w io.Writer, src *source, o Object) (n int64, err error) {
	in, put, err := takeBuffer(o.Size)
	if err != nil {
		return 0, writeError{err}
	}
	defer put()
	if in, err = gather(in, src); err != nil {
		return 0, err
	}
	if err := src.check(o); err != nil {
		return 0, err
	}
	if o.Size > smallWhole {
		inflating <- struct{}{}
		defer func() { <-inflating }()
	}
	out, put, err := takeBuffer(o.Size)
	if err != nil {
		return 0, writeError{err}
	}
	defer put()
	out = out[:o.Size]
	made, err := deflate.Inflate(out, in)
	if err != nil {
		return 0, err
	}
	if _, err := w.Write(out[:made]); err != nil {
		return 0, writeError{err}
	}
	return int64(made), nil
}

// gather appends all of src, which is bounded, to b.
func gather(b []byte, src *source) ([]byte, error) {
	for {
		b = slices.Grow(b, 1) // for what is stored larger than it has to be
		n, err := src.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}
