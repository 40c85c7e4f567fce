package cas

import (
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/flatrun/flatrun/mount/deflate"
)

// Decode copies the stored bytes of o from r to w, decompressed, and returns their number. They are right if and only if
// err is nil. Errors of r and w are returned as they are; all others match ErrCorrupt.
func Decode(w io.Writer, r io.Reader, o Object) (wire int64, err error) {
	src := &source{r: r, hash: o.Hash.algorithm.New(), max: 2*o.limit() + 64<<10}
	n, err := decode(w, src, o)
	switch {
	case src.err != nil && src.err != io.EOF:
		return src.n, src.err
	case errors.As(err, new(writeError)):
		return src.n, errors.Unwrap(err)
	case errors.Is(err, errDigest):
		return src.n, fmt.Errorf("%v: %w: %w", o, ErrCorrupt, err)
	case err != nil:
		return src.n, fmt.Errorf("%v: %w: %s data: %v", o, ErrCorrupt, o.Compression, err)
	case n > o.limit():
		return src.n, fmt.Errorf("%v: %w: more than %d bytes", o, ErrCorrupt, o.limit())
	case o.Size >= 0 && n != o.Size:
		return src.n, fmt.Errorf("%v: %w: %d bytes, want %d", o, ErrCorrupt, n, o.Size)
	}
	return src.n, nil
}

// decode decompresses src into w in the way that fits, and checks the hash.
func decode(w io.Writer, src *source, o Object) (n int64, err error) {
	if release, ok := holdWhole(o); ok {
		defer release()
		return decodeWhole(w, src, o)
	}
	d := decoders.Get().(*decoder)
	defer func() { d.zlib.Reset(nil); decoders.Put(d) }()
	if n, err = d.copy(w, src, o); err != nil || n > o.limit() {
		return n, err
	}
	return n, src.check(o)
}

// decoder is the reusable state of one decode of a stream: about 300 KB, far more than most objects.
type decoder struct {
	zlib *deflate.Reader
	out  [128 << 10]byte
}

var decoders = sync.Pool{New: func() any { return &decoder{zlib: deflate.NewReader(nil, deflate.Zlib)} }}

// copy decompresses r into w, at most one byte more than can be right. Up to that it reads r to its end.
func (d *decoder) copy(w io.Writer, r io.Reader, o Object) (n int64, err error) {
	in := r
	switch o.Compression {
	case None:
	case Zlib:
		d.zlib.Reset(r)
		in = d.zlib
	default:
		return 0, fmt.Errorf("compression %d is unknown", o.Compression)
	}
	for left := o.limit() + 1; left > 0; {
		k, err := in.Read(d.out[:min(left, int64(len(d.out)))])
		if k > 0 {
			if _, err := w.Write(d.out[:k]); err != nil {
				return n, writeError{err}
			}
			n, left = n+int64(k), left-int64(k)
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

type writeError struct{ error }

func (e writeError) Unwrap() error { return e.error }

// source hashes and counts the stored bytes, and bounds them: a stream of empty deflate blocks never ends and yields nothing.
type source struct {
	r    io.Reader
	hash hash.Hash
	n    int64
	max  int64
	err  error // what r ended with
}

func (s *source) Read(p []byte) (int, error) {
	if s.n > s.max {
		return 0, fmt.Errorf("more than %d stored bytes", s.max)
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.max+1-s.n)])
	s.hash.Write(p[:n])
	s.n += int64(n)
	if err != nil {
		s.err = err
	}
	return n, err
}

var errDigest = errors.New("hash differs")

// check compares the hash of all that was read.
func (s *source) check(o Object) error {
	if got := finish(o.Hash.algorithm, s.hash); got != o.Hash {
		return fmt.Errorf("%w: that of the %d stored bytes is %v", errDigest, s.n, got)
	}
	return nil
}
