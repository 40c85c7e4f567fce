package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/flatrun/flatrun/mount/config"
	"github.com/flatrun/flatrun/mount/prefetch"
)

// Profiles is where the start-up profiles of a cache are.
func Profiles(cacheDir string) prefetch.Profiles { return profiles(cacheDir) }

// Packs lists the directories of what start-up packs brought, beside the objects of a cache with the limit: one a repository,
// named by it, with a limit of its own.
func Packs(cacheDir string, limit int64) (dirs []string, limitEach int64, err error) {
	top := filepath.Join(cacheDir, "packs")
	entries, err := os.ReadDir(top)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("packs: %w", err)
	}
	for _, e := range entries {
		dirs = append(dirs, filepath.Join(top, e.Name()))
	}
	return dirs, limit / packShare, nil
}

// Profile is what was recorded of the image's start on this node. log may be nil.
func Profile(ctx context.Context, settings *config.Config, image string, log *slog.Logger) (*prefetch.Profile, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	own := *settings
	own.Native = false
	caches, err := openCaches(&own, log)
	if err != nil {
		return nil, err
	}
	defer caches.lower.Close()
	r := &repositories{settings: &own, caches: caches, log: log, errors: &journal{}, slots: map[string]*slot{}}
	defer func() {
		for _, v := range r.mounted() {
			v.close()
		}
	}()
	place, v, err := r.find(ctx, image)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", image, err)
	}
	id, err := prefetch.Identify(ctx, v.repo.Head(), place.where.InRepo)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", image, err)
	}
	p, err := profiles(own.Cache.Dir).Load(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("image %s: no start of it is recorded on this node: one is, a minute after it or when the session ends, and by flatrun profile record at once", image)
	}
	if err == nil {
		p.Image = id
	}
	return p, err
}
