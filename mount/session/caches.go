package session

import (
	"fmt"
	"log/slog"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/config"
	"github.com/flatrun/flatrun/mount/enter"
)

// caches are where objects are kept on this machine.
type caches struct {
	main  *cas.Cache
	lower cas.Store // filled by somebody else, nil for none
	limit int64     // bytes, 0 = none
}

func openCaches(settings *config.Config, log *slog.Logger) (caches, error) {
	c := caches{limit: int64(settings.Cache.Limit)}
	var err error
	if c.main, err = cas.OpenCache(cas.CacheConfig{Dir: settings.Cache.Dir, Limit: c.limit, Log: log}); err != nil {
		return c, fmt.Errorf("cache: %w", err)
	}
	if settings.Cache.Lower != "" {
		lower, err := cas.OpenCache(cas.CacheConfig{Dir: settings.Cache.Lower, ReadOnly: true, Log: log})
		if err != nil {
			return c, fmt.Errorf("lower cache: %w", err)
		}
		c.lower = lower.Store()
	}
	return c, nil
}

// usage is what df shows.
func (c caches) usage() (used, limit int64) {
	used, _, _ = c.main.Usage()
	return used, c.limit
}

func (c caches) status() enter.CacheStatus {
	s := enter.CacheStatus{Dir: c.main.Dir(), Limit: c.limit}
	s.Bytes, s.Objects, _ = c.main.Usage()
	return s
}
