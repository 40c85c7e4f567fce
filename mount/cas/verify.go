package cas

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
