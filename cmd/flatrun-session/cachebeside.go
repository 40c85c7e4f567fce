package main

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/config"
	"github.com/flatrun/flatrun/mount/session"
)

// Beside its objects, a cache has what start-up packs brought, and the profiles of starts.

type packReport struct {
	FQRN    string `json:"fqrn"`
	Bytes   int64  `json:"bytes"`
	Objects int64  `json:"objects"`
	Limit   int64  `json:"limit"` // 0 is none
}

// countBeside counts that.
func (r *cacheReport) countBeside(ctx context.Context) error {
	dirs, limit, err := session.Packs(r.Dir, r.Limit)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		cache, err := cas.OpenCache(cas.CacheConfig{Dir: dir, ReadOnly: true})
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		p := packReport{FQRN: filepath.Base(dir), Limit: limit}
		if p.Bytes, p.Objects, err = count(ctx, cache); err != nil {
			return err
		}
		r.Packs = append(r.Packs, p)
	}
	images, err := session.Profiles(r.Dir).List()
	r.Profiles = len(images)
	return err
}

// cleaned is a cache with what it may keep.
type cleaned struct {
	*cas.Cache
	bytes, objects, target int64
}

// toClean lists the cache and what packs brought. A size is shared out by what each of them has now; otherwise each has its
// limit.
func toClean(ctx context.Context, settings *config.Config, size int64, sized bool) ([]cleaned, error) {
	cache, err := change(settings)
	if err != nil {
		return nil, err
	}
	dirs, limit, err := session.Packs(settings.Cache.Dir, int64(settings.Cache.Limit))
	if err != nil {
		return nil, err
	}
	all := []cleaned{{Cache: cache, target: int64(settings.Cache.Limit)}}
	for _, dir := range dirs {
		pack, err := cas.OpenCache(cas.CacheConfig{Dir: dir, Limit: limit})
		if err != nil {
			return nil, err
		}
		all = append(all, cleaned{Cache: pack, target: limit})
	}
	var total int64
	for i := range all {
		c := &all[i]
		if c.bytes, c.objects, err = count(ctx, c.Cache); err != nil {
			return nil, err
		}
		total += c.bytes
	}
	for i := range all {
		if c := &all[i]; sized {
			c.target = int64(float64(size) * (float64(c.bytes) / float64(max(total, 1))))
		}
	}
	return all, nil
}

// removeProfiles forgets all starts, and tells how many there were.
func removeProfiles(cacheDir string) (int, error) {
	profiles := session.Profiles(cacheDir)
	images, err := profiles.List()
	if err != nil {
		return 0, err
	}
	for _, image := range images {
		err = errors.Join(err, profiles.Remove(image))
	}
	return len(images), err
}
