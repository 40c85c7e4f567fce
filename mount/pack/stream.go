package pack

import (
	"context"
	"io"

	"github.com/flatrun/flatrun/mount/cas"
)

const (
	// parallel is how many chunks of parts are fetched at the same time: enough connections for slow start, few enough for
	// the first chunks, which are needed first, to come first.
	parallel = 6
	// waiting bounds the chunks that have come and were not unpacked yet.
	waiting = 16
)

// piece is a chunk of a part, whole and verified, or why it did not come.
type piece struct {
	bytes []byte
	err   error
}

// fetch begins to fetch the chunks of all parts, and answers for each, in their order, where it will come. It ends with ctx.
func (s *Store) fetch(ctx context.Context, parts [][]cas.Object) <-chan chan piece {
	order := make(chan chan piece, waiting)
	running := make(chan struct{}, parallel)
	begin := func(o cas.Object) bool {
		select {
		case running <- struct{}{}:
		case <-ctx.Done():
			return false
		}
		come := make(chan piece, 1)
		s.takes.Go(func() {
			b, err := s.read(ctx, o)
			come <- piece{b, err}
			<-running
		})
		select {
		case order <- come:
			return true
		case <-ctx.Done():
			return false
		}
	}
	s.takes.Go(func() {
		for _, chunks := range parts {
			for _, o := range chunks {
				if !begin(o) {
					return
				}
			}
		}
	})
	return order
}

// read fetches a chunk of a part into memory. It comes verified by its hash.
func (s *Store) read(ctx context.Context, o cas.Object) ([]byte, error) {
	if s.cfg.Read != nil {
		return s.cfg.Read(ctx, o)
	}
	return s.readKept(ctx, o)
}

// readKept reads what stays in the cache.
func (s *Store) readKept(ctx context.Context, o cas.Object) ([]byte, error) {
	f, err := s.cfg.Fetch.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxPart))
}

// part reads the next chunks, left of them, as one.
type part struct {
	ctx    context.Context
	pieces <-chan chan piece
	left   int
	now    []byte
	err    error // why a chunk did not come
}

func (p *part) Read(b []byte) (int, error) {
	for len(p.now) == 0 && p.err == nil {
		if p.left == 0 {
			return 0, io.EOF
		}
		p.left--
		p.now, p.err = p.next()
	}
	n := copy(b, p.now)
	p.now = p.now[n:]
	return n, p.err
}

func (p *part) next() ([]byte, error) {
	select {
	case come := <-p.pieces:
		select {
		case got := <-come:
			return got.bytes, got.err
		case <-p.ctx.Done():
		}
	case <-p.ctx.Done():
	}
	return nil, context.Cause(p.ctx)
}
