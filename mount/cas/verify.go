package cas

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"sync"

	"github.com/flatrun/flatrun/mount/deflate"
)

// maxTransfers bounds how often one object is fetched because its bytes were wrong.
const maxTransfers = 4

// sink takes decompressed bytes and can start over.
type sink interface {
	io.Writer
	Reset() error
}

// ReadVerified fetches a small object into memory.
func ReadVerified(ctx context.Context, f Fetcher, o Object) ([]byte, error) {
	var b memory
	if _, err := transfer(ctx, f, o, &b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

type memory struct{ bytes.Buffer }

func (m *memory) Reset() error { m.Buffer.Reset(); return nil }

// transfer fetches o into w. Wrong bytes are asked for again: once past the caches of the proxies, for they are the likeliest
// culprits, and then from other sources as long as the Fetcher knows some. It returns the number of stored bytes that came.
func transfer(ctx context.Context, f Fetcher, o Object, w sink) (wire int64, err error) {
	if f == nil {
		return 0, fmt.Errorf("fetch %v: no server is configured for it", o)
	}
	r := o.request()
	for try := 1; ; try++ {
		n, again, err := transferOnce(ctx, f, r, o, w)
		wire += n
		switch {
		case err == nil:
			return wire, nil
		case errors.Is(err, fs.ErrNotExist) && o.Alternative && r.Name != o.AltName():
			r.Name = o.AltName()
		case !errors.Is(err, ErrCorrupt) || try == maxTransfers || r.NoCache && !again:
			return wire, err
		default:
			r.NoCache = true
		}
		if err := w.Reset(); err != nil {
			return wire, fmt.Errorf("fetch %v: %w", o, err)
		}
	}
}

// transferOnce fetches o a single time; again says that after wrong bytes the next fetch will ask elsewhere.
func transferOnce(ctx context.Context, f Fetcher, r Request, o Object, w io.Writer) (wire int64, again bool, err error) {
	body, err := f.Fetch(ctx, r)
	if err != nil {
		return 0, false, err
	}
	defer body.Close()
	wire, err = Decode(w, body, o)
	if err == nil {
		return wire, false, nil
	}
	if b, ok := body.(Body); ok && errors.Is(err, ErrCorrupt) {
		err = fmt.Errorf("%w (from %s)", err, b.Source())
		again = r.NoCache && b.Reject(err)
	}
	return wire, again, err
}

// decoder is the reusable state of one decode: about 300 KB, far more than most objects.
type decoder struct {
	zlib *deflate.Reader
	out  [128 << 10]byte
}

var decoders = sync.Pool{New: func() any { return &decoder{zlib: deflate.NewReader(nil, deflate.Zlib)} }}

// Decode copies the stored bytes of o from r to w, decompressed, and returns their number. They are right if and only if
// err is nil. Errors of r and w are returned as they are; all others match ErrCorrupt.
func Decode(w io.Writer, r io.Reader, o Object) (wire int64, err error) {
	d := decoders.Get().(*decoder)
	defer func() { d.zlib.Reset(nil); decoders.Put(d) }()
	src := &source{r: r, hash: o.Hash.algorithm.New(), max: 2*o.limit() + 64<<10}
	n, err := d.copy(w, src, o)
	switch {
	case src.err != nil && src.err != io.EOF:
		return src.n, src.err
	case errors.As(err, new(writeError)):
		return src.n, errors.Unwrap(err)
	case err != nil:
		return src.n, fmt.Errorf("%v: %w: %s data: %v", o, ErrCorrupt, o.Compression, err)
	case n > o.limit():
		return src.n, fmt.Errorf("%v: %w: more than %d bytes", o, ErrCorrupt, o.limit())
	}
	if got := finish(o.Hash.algorithm, src.hash); got != o.Hash {
		return src.n, fmt.Errorf("%v: %w: %d stored bytes have the hash %v", o, ErrCorrupt, src.n, got)
	}
	if o.Size >= 0 && n != o.Size {
		return src.n, fmt.Errorf("%v: %w: %d bytes, want %d", o, ErrCorrupt, n, o.Size)
	}
	return src.n, nil
}

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
	n, err := s.r.Read(p)
	s.hash.Write(p[:n])
	s.n += int64(n)
	if err != nil {
		s.err = err
	}
	return n, err
}
