package session

import (
	"fmt"
	"log/slog"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/config"
	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/mount/fusefs"
)

// caches are where objects are kept on this machine.
type caches struct {
	main  *cas.Cache
	lower cas.Lower // filled by somebody else
	left  []string  // why tiers of it are left out
	limit int64     // bytes, 0 = none
	ahead config.Prefetch
	open  *fusefs.Budget // descriptors of all repositories together
}

func openCaches(settings *config.Config, log *slog.Logger) (caches, error) {
	s := settings.Cache
	c := caches{limit: int64(s.Limit), ahead: settings.Prefetch, open: fusefs.NewBudget()}
	var err error
	if c.main, err = cas.OpenCache(cas.CacheConfig{Dir: s.Dir, Limit: c.limit, Shared: s.Shared, Log: log}); err != nil {
		return c, fmt.Errorf("cache: %w", err)
	}
	var leftOut []error
	c.lower, leftOut = cas.OpenLower(s.Lower, log)
	for _, err := range leftOut {
		text := fmt.Sprintf("%v; it is left out until the next start", err)
		if c.left = append(c.left, text); log != nil {
			log.Warn("lower cache", "error", text)
		}
	}
	if err := c.main.Adopt(c.lower.Breadcrumbs()); err != nil && log != nil {
		log.Warn("what the lower caches know of new revisions is not used", "error", err)
	}
	return c, nil
}

// usage is what df shows.
func (c caches) usage() (used, limit int64) {
	used, _, _ = c.main.Usage()
	return used, c.limit
}

func (c caches) status() enter.CacheStatus {
	s := enter.CacheStatus{Dir: c.main.Dir(), Limit: c.limit, LeftOut: c.left}
	s.Bytes, s.Objects, _ = c.main.Usage()
	return s
}
