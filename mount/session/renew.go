package session

import (
	"context"
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
