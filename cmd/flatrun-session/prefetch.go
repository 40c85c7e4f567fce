package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/flatrun/flatrun/cmd/show"
	"github.com/flatrun/flatrun/mount/session"
)

// runPrefetch fills the cache with an image, or with any part of a repository.
func runPrefetch(ctx context.Context, c *call) error {
	if c.all && c.storage.profile {
		return errors.New("give --all or --profile, not both")
	}
	settings, err := c.settings()
	if err != nil {
		return err
	}
	p := newProgress(c.storage.progress, "fetched")
	cfg := session.PrefetchConfig{
		Image: c.args[0], Into: c.storage.into, Settings: settings, Profile: c.storage.profile,
		Progress: func(r session.PrefetchReport) {
			p.show(state{r.Fetched + r.Present, r.Objects, r.DoneBytes, r.Bytes, !r.Found})
		},
	}
	r, err := session.Prefetch(ctx, cfg)
	p.clear()
	if ctx.Err() != nil {
		return errors.New("interrupted; run it again to go on")
	}
	if err != nil {
		return fmt.Errorf("prefetch %s: %w", c.args[0], err)
	}
	what := fmt.Sprintf("%d files in ", r.Files)
	if c.storage.profile { // which names objects
		what = ""
	}
	fmt.Printf("%s%s, revision %d: %s%d objects, %s; %d fetched (%s over the network), %d were there already\ncache %s\n",
		r.FQRN, r.Path, r.Revision, what, r.Objects, show.Size(r.Bytes), r.Fetched, show.Size(r.Wire), r.Present, r.Dir)
	return nil
}
