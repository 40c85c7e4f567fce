package convert

import (
	"context"
	"errors"
	"io"
	"time"
)

// lostError is why the body of an answer broke off, told from what else may be wrong with it.
type lostError struct{ error }

func (e lostError) Unwrap() error { return e.error }

// telling is a body that does so.
type telling struct{ io.ReadCloser }

func (t telling) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = lostError{err}
	}
	return n, err
}

// steadyTries is how often a blob is asked for again after its transfer broke off.
const steadyTries = 3

// steady reads a registry's blob to its end though its transfer breaks off: an image of gigabytes is not begun anew for a
// connection that was lost. What was read before is read again and left out, for the library cannot ask for the rest. It
// does so to the end of what was given out and no further: whether the parts fit together, the digest of the whole tells,
// of the plain tar if of nothing else.
type steady struct {
	ctx  context.Context
	open func() (io.ReadCloser, error)
	wait func(context.Context, time.Duration) error

	r     io.ReadCloser
	given int64
	tries int
}

func newSteady(ctx context.Context, open func() (io.ReadCloser, error)) (*steady, error) {
	r, err := open()
	return &steady{ctx: ctx, open: open, wait: pause, r: r}, err
}

func (s *steady) Read(p []byte) (int, error) {
	for {
		n, err := s.r.Read(p)
		s.given += int64(n)
		if !errors.As(err, &lostError{}) || s.again() != nil {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
	}
}

// again goes on with another transfer, at the byte at which this one ended.
func (s *steady) again() error {
	for ; ; s.tries++ {
		if s.tries == steadyTries {
			return io.ErrUnexpectedEOF
		}
		if err := s.wait(s.ctx, time.Second<<(2*s.tries)); err != nil {
			return err
		}
		r, err := s.open()
		if err != nil {
			continue
		}
		s.r.Close()
		s.r = r
		if _, err = io.CopyN(io.Discard, r, s.given); err == nil {
			s.tries++
			return nil
		}
	}
}

func (s *steady) Close() error { return s.r.Close() }

// pause waits unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
