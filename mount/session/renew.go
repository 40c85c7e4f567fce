package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// renewAfter is how old the last look for a new revision must be for a missing image to cause another one.
	renewAfter = 3 * time.Second
	// renewWithin bounds how long somebody who mistyped a name waits for it.
	renewWithin = 10 * time.Second
)

// renew looks for new revisions of what is mounted and tells whether there was one: an image that was published a minute
// ago must not be missing for the rest of the repository's time to live.
func (r *repositories) renew(ctx context.Context) (changed bool) {
	ctx, cancel := context.WithTimeout(ctx, renewWithin)
	defer cancel()
	for _, v := range r.mounted() {
		v.mu.Lock()
		recent := time.Since(v.checked) < renewAfter
		v.mu.Unlock()
		if recent {
			continue
		}
		before := v.repo.Head().Manifest().Root
		if err := v.refresh(ctx); err != nil {
			r.log.Warn("refresh", "error", err)
			continue
		}
		changed = changed || v.repo.Head().Manifest().Root != before
	}
	return changed
}

// refresh looks for a new revision of the repository, of all if it is "", whenever the last look was.
func (r *repositories) refresh(ctx context.Context, fqrn string) error {
	mounted := r.mounted()
	failed := make([]error, len(mounted)+1)
	known := fqrn == ""
	var all sync.WaitGroup
	for i, v := range mounted {
		if fqrn == "" || v.settings.FQRN == fqrn {
			known = true
			all.Go(func() { failed[i] = v.refresh(ctx) })
		}
	}
	all.Wait()
	if !known {
		failed[len(mounted)] = fmt.Errorf("repository %s is not mounted in the session", fqrn)
	}
	return errors.Join(failed...)
}
