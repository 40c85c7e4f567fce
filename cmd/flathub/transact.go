package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/flatrun/flatrun/cmd/show"
	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// commitFlags describe a new revision.
type commitFlags struct {
	tag, description string
	noTag            bool
}

func (c *commitFlags) add(f *pflag.FlagSet) {
	f.StringVar(&c.tag, "tag", "", "name the new revision (default: generic-TIME)")
	f.StringVar(&c.description, "description", "", "describe the tag")
	f.BoolVar(&c.noTag, "no-tag", false, "no tag but trunk")
}

func (c *commitFlags) options() publish.CommitOptions {
	return publish.CommitOptions{Tag: c.tag, Description: c.description, NoTag: c.noTag}
}

// transact publishes what stage puts into a transaction as one revision, and reports it.
func (a *app) transact(ctx context.Context, r *repository, o publish.CommitOptions, stage func(*publish.Tx) error) error {
	start := time.Now()
	tx, err := a.begin(ctx, r)
	if err != nil {
		return err
	}
	defer tx.Abort()
	if err := stage(tx); err != nil {
		return err
	}
	m, err := tx.Commit(ctx, o)
	if err != nil {
		return err
	}
	return a.published(r.fqrn, m, &tx.Stats, time.Since(start))
}

// begin starts a transaction.
func (a *app) begin(ctx context.Context, r *repository) (*publish.Tx, error) {
	keys, err := r.keys()
	if err != nil {
		return nil, err
	}
	return publish.Begin(ctx, r.storage, keys, r.options)
}

// published reports a new revision.
func (a *app) published(fqrn string, m *repo.Manifest, s *publish.IngestStats, took time.Duration) error {
	return a.print(map[string]any{
		"fqrn": fqrn, "revision": m.Revision, "root": m.Root, "files": s.Files.Load(), "bytes": s.Bytes.Load(),
		"objects": s.Objects.Load(), "new_objects": s.Stored.Load(), "new_bytes": s.StoredBytes.Load(), "seconds": took.Seconds(),
	}, fmt.Sprintf("%s: revision %d: %d files, %s, of it new %d objects, %s compressed; %.1f s\n", fqrn, m.Revision,
		s.Files.Load(), show.Size(s.Bytes.Load()), s.Stored.Load(), show.Size(s.StoredBytes.Load()), took.Seconds()))
}
