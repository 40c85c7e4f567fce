package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flatrun/flatrun/cmd/show"
	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/config"
)

// cacheClean evicts what was not used for the longest time, down to --size, to what was used within --days, or to nothing;
// without any of them to the limit. What packs brought counts; profiles go with --all.
func cacheClean(ctx context.Context, c *call, settings *config.Config, _ string) error {
	if c.all && c.storage.sized {
		return errors.New("give --size or --all, not both")
	}
	byAge := c.storage.days >= 0
	if byAge && (c.all || c.storage.sized) {
		return errors.New("give --days, --size or --all, not several of them")
	}
	sized := c.all || c.storage.sized
	if !sized && !byAge && (settings.Cache.Limit == 0 || settings.Cache.Shared) {
		return errors.New("the cache has no limit to come down to: give --size, --days or --all")
	}
	caches, err := toClean(ctx, settings, int64(c.storage.size), sized)
	if err != nil {
		return err
	}
	if byAge {
		for i := range caches {
			if caches[i].target, err = recent(ctx, caches[i].Cache, time.Duration(c.storage.days)*24*time.Hour); err != nil {
				return err
			}
		}
	}
	if c.storage.dryRun {
		return sayCleaned(caches)
	}
	var before, objects, after, left int64
	for _, one := range caches {
		if err := one.Clean(ctx, one.target); err != nil {
			return err
		}
		if _, err := one.ClearQuarantine(); err != nil {
			return err
		}
		bytes, n, err := count(ctx, one.Cache)
		if err != nil {
			return err
		}
		before, objects, after, left = before+one.bytes, objects+one.objects, after+bytes, left+n
	}
	fmt.Printf("removed %d objects, %s; left %d, %s\n", max(objects-left, 0), show.Size(max(before-after, 0)), left, show.Size(after))
	if c.all {
		profiles, err := removeProfiles(settings.Cache.Dir)
		if profiles > 0 {
			fmt.Printf("removed the profiles of %d images\n", profiles)
		}
		return err
	}
	return nil
}

// recent counts the bytes of what was used within a time, and of what is pinned.
func recent(ctx context.Context, cache *cas.Cache, within time.Duration) (bytes int64, err error) {
	since := time.Now().Add(-within)
	err = cache.List(ctx, func(e cas.Entry) error {
		if e.Pinned || e.Used.After(since) {
			bytes += e.Size
		}
		return nil
	})
	return bytes, err
}

// sayCleaned tells what would go.
func sayCleaned(caches []cleaned) error {
	var gone, left int64
	for _, one := range caches {
		gone, left = gone+max(one.bytes-one.target, 0), left+min(one.bytes, one.target)
	}
	_, err := fmt.Printf("would remove %s; would leave %s\n", show.Size(gone), show.Size(left))
	return err
}

// count is exact, unlike the cache's own estimate.
func count(ctx context.Context, cache *cas.Cache) (bytes, objects int64, err error) {
	err = cache.List(ctx, func(e cas.Entry) error {
		bytes, objects = bytes+e.Size, objects+1
		return nil
	})
	return bytes, objects, err
}

// counter shows progress object by object.
type counter struct {
	p *progress
	s state
}

func newCounter(ctx context.Context, c *call, cache *cas.Cache, verb string) (*counter, error) {
	bytes, objects, err := count(ctx, cache)
	return &counter{newProgress(c.storage.progress, verb), state{total: objects, totalBytes: bytes}}, err
}

func (n *counter) visit(e cas.Entry) {
	n.p.show(n.s)
	n.s.done, n.s.doneBytes = n.s.done+1, n.s.doneBytes+e.Size
}

// cacheVerify reads all objects. What is wrong makes it end with 1, unless it was repaired.
func cacheVerify(ctx context.Context, c *call, settings *config.Config, _ string) error {
	cache, err := lookAt(settings)
	if err == nil && cache != nil && c.storage.repair {
		cache, err = change(settings)
	}
	if err != nil {
		return err
	}
	if cache == nil {
		fmt.Println("the cache is empty")
		return nil
	}
	n, err := newCounter(ctx, c, cache, "verified")
	if err != nil {
		return err
	}
	r, err := cache.Verify(ctx, c.storage.repair, n.visit)
	n.p.clear()
	if err != nil {
		return err
	}
	for _, h := range r.Corrupt {
		fmt.Println("corrupt", h)
	}
	fmt.Printf("good %d, corrupt %d, without a checksum %d\n", r.Good, len(r.Corrupt), r.Unchecked)
	if len(r.Corrupt) > 0 && !c.storage.repair {
		return fmt.Errorf("%d corrupt objects are in the cache; flatrun cache verify --repair moves them away", len(r.Corrupt))
	}
	return nil
}

func cacheExport(ctx context.Context, c *call, settings *config.Config, file string) error {
	cache, err := lookAt(settings)
	if err == nil && cache == nil {
		err = fmt.Errorf("cache %s: there is nothing to export", settings.Cache.Dir)
	}
	if err != nil {
		return err
	}
	n, err := newCounter(ctx, c, cache, "exported")
	if err == nil && n.s.total == 0 {
		err = fmt.Errorf("cache %s: it is empty, there is nothing to export", settings.Cache.Dir)
	}
	if err != nil {
		return err
	}
	r, err := cache.Export(ctx, file, n.visit)
	n.p.clear()
	if err != nil {
		return err
	}
	fmt.Printf("exported %d objects, %s, in %s\n", r.Objects, show.Size(r.Bytes), time.Since(n.p.began).Round(time.Millisecond))
	if r.Unchecked > 0 {
		fmt.Printf("%d of them have no checksum, as the official client left them: they are what the disk says\n", r.Unchecked)
	}
	if len(r.Corrupt) > 0 {
		return fmt.Errorf("%d corrupt objects were left out; flatrun cache verify --repair moves them away", len(r.Corrupt))
	}
	return nil
}

func cacheImport(ctx context.Context, c *call, settings *config.Config, file string) error {
	archive, err := cas.OpenArchive(file, nil)
	if err != nil {
		return err
	}
	defer archive.Close()
	cache, err := change(settings)
	if err != nil {
		return err
	}
	bytes, objects := archive.Usage()
	n := &counter{newProgress(c.storage.progress, "imported"), state{total: objects, totalBytes: bytes}}
	r, err := cache.Import(ctx, archive, n.visit)
	n.p.clear()
	if err != nil {
		return err
	}
	fmt.Printf("imported %d objects, %s; %d were there already\n", r.Objects, show.Size(r.Bytes), r.Present)
	if len(r.Damaged) > 0 {
		return fmt.Errorf("archive %s: %d objects are damaged and were left out; copy it again", file, len(r.Damaged))
	}
	return nil
}
