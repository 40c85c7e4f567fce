package publish

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// lockPoll is how often a waiting publisher asks for the lock. A dead one's
// lease is taken over at the first try after its end.
const lockPoll = time.Second

// lock takes the publisher's lock of s. While another publisher has it, it
// tries again for o.Wait; ErrLocked if that was not enough.
func (o *Options) lock(ctx context.Context, s Storage) (Lease, error) {
	began := time.Now()
	for tries := 0; ; tries++ {
		l, err := s.Lock(ctx)
		if !errors.Is(err, ErrLocked) || o.Wait <= 0 {
			return l, err
		}
		if time.Since(began) >= o.Wait {
			return nil, fmt.Errorf("%w; it did not end in %s: try again later", err, o.Wait)
		}
		if tries == 0 && o.Waiting != nil {
			o.Waiting(err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(min(lockPoll, o.Wait)):
		}
	}
}
