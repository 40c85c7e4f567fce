package layer

import (
	"fmt"
	"io"
)

// DefaultMax is what a layer may come to unless the operator says otherwise. No known image has a layer that comes near.
const DefaultMax = 100 << 30

// entryCost is what an entry counts besides its content: like a block on a disk, a row in a catalog is not free.
const entryCost = 4 << 10

// tooLarge is the error of what passes a limit.
func tooLarge(limit int64) error {
	return fmt.Errorf("more than the %d bytes that a layer may come to: a decompression bomb, or raise --max-layer", limit)
}

// orDefault is a limit as it is given: 0 is the default.
func orDefault(limit int64) int64 {
	if limit <= 0 {
		return DefaultMax
	}
	return limit
}

// limited fails once more than max bytes came out of r.
type limited struct {
	r         io.ReadCloser
	max, left int64
}

func newLimited(r io.ReadCloser, limit int64) *limited {
	limit = orDefault(limit)
	return &limited{r, limit, limit}
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, tooLarge(l.max)
	}
	return n, err
}

func (l *limited) Close() error { return l.r.Close() }

// allowance is what the entries of a layer may still come to.
type allowance struct{ max, left int64 }

// take counts an entry with size bytes of content, before any of them is read.
func (a *allowance) take(size int64) error {
	if a.left -= entryCost; size > a.left {
		return fmt.Errorf("its %d bytes make %w", size, tooLarge(a.max))
	}
	a.left -= size
	return nil
}
