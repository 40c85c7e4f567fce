package prefetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/repo"
)

// minRecorded is how many objects make a profile worth keeping.
const minRecorded = 4

// Image tells that program is about to be started in the image with its root at that path of the repository; "" where the
// program is not known. Where an earlier start was recorded, its objects are fetched. Else guesses must do, and this start is
// recorded; the profile is written when RecordFor is over, or by Close. Only the first start of an image does anything: later
// ones find the cache warm.
func (p *Prefetcher) Image(root, program string) {
	if p.begun(root) {
		return
	}
	p.AddRoot(root)
	if p.cfg.Profiles == "" || !p.replayKept(root) {
		p.Start(root, program)
	}
}

// replayKept fetches what the image's profile names; without one, this start is recorded.
func (p *Prefetcher) replayKept(root string) bool {
	image, err := Identify(p.ctx, p.cfg.Revision(), root)
	if err != nil {
		p.log.Debug("no start-up profile", "image", root, "reason", err)
		return false
	}
	profile, err := p.cfg.Profiles.Load(image)
	if err == nil {
		p.Known(root)
		p.Replay(profile)
		return true
	}
	if !errors.Is(err, fs.ErrNotExist) {
		p.log.Warn("start-up profile is not used", "image", root, "reason", err)
	}
	p.keep(image, root)
	return false
}

// Recorded tells whether there is a profile of the image with its root at that path of the repository.
func (p *Prefetcher) Recorded(root string) bool {
	if p.cfg.Profiles == "" {
		return false
	}
	image, err := Identify(p.ctx, p.cfg.Revision(), root)
	return err == nil && p.cfg.Profiles.Has(image)
}

// Known tells that all an image's start needs is brought by other means: nothing is guessed for it, until Image is called.
func (p *Prefetcher) Known(root string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known = append(p.known, root)
}

// begun notes that the image is started, and tells whether it was before.
func (p *Prefetcher) begun(root string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	again := p.started[root]
	p.known = slices.DeleteFunc(p.known, func(r string) bool { return r == root && !again })
	p.started[root] = true
	return again
}

// Identify names the image with its root at that path by what it holds: the catalog that describes its root, and where in it
// that is. The same image in a later revision has the same name.
func Identify(ctx context.Context, rev *repo.Revision, root string) (cas.Hash, error) {
	root = catalog.Clean(root)
	n, err := rev.Lookup(ctx, catalog.Parent(root))
	if root != "" && err == nil { // the parent's catalog tells, which is here before the image's own
		n, err = rev.Child(ctx, n, path.Base(root))
	}
	if err != nil {
		return cas.Hash{}, err
	}
	hash, at := n.CatalogHash, n.CatalogPath()
	if nested, found, err := n.Catalog.NestedAt(at); err != nil {
		return cas.Hash{}, err
	} else if found && n.Entry.Flags&(catalog.NestedMount|catalog.BindMount) != 0 {
		hash = nested.Hash
	}
	return cas.Sum(cas.SHA1, fmt.Append(nil, hash, at)), nil
}

// keep records a start and writes its profile in the end.
func (p *Prefetcher) keep(image cas.Hash, root string) {
	r := p.Record(root)
	p.keeping.Go(func() {
		timer := time.NewTimer(RecordFor)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.ctx.Done():
		}
		profile := r.Stop()
		if len(profile.Objects) < minRecorded {
			return
		}
		if err := p.cfg.Profiles.Save(image, profile); err != nil {
			p.log.Warn("start-up profile is not kept", "image", root, "reason", err)
		}
	})
}
