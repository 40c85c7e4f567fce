package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

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
	s := settings.Cache
	c := caches{limit: int64(s.Limit)}
	var err error
	if c.main, err = cas.OpenCache(cas.CacheConfig{Dir: s.Dir, Limit: c.limit, Shared: s.Shared, Log: log}); err != nil {
		return c, fmt.Errorf("cache: %w", err)
	}
	var lower tiers
	for _, dir := range s.Lower {
		tier, err := cas.OpenCache(cas.CacheConfig{Dir: dir, ReadOnly: true, Log: log})
		if err != nil {
			return c, fmt.Errorf("lower cache: %w", err)
		}
		lower = append(lower, tier.Store())
	}
	if len(lower) > 0 {
		c.lower = lower
	}
	return c, nil
}

// tiers are caches asked one after the other.
type tiers []cas.Store

// Open implements cas.Store. What is wrong with one tier must not keep the others, or the network, from being asked: the
// error matches fs.ErrNotExist only if all have said that.
func (t tiers) Open(ctx context.Context, o cas.Object) (*os.File, error) {
	var failed []error
	for _, tier := range t {
		f, err := tier.Open(ctx, o)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	if len(failed) > 0 {
		return nil, errors.Join(failed...)
	}
	return nil, fs.ErrNotExist
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
