package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/flatrun/flatrun/cmd/show"
	"github.com/flatrun/flatrun/unpacked/publish"
)

func infoVerb() verb {
	var p place
	return verb{
		name: "info", operands: "[FQRN]", min: 0, max: 1,
		short:    "tell about a repository, or list those that init noted",
		examples: "flathub info\nflathub info images.example.org --json",
		flags:    p.add,
		run: func(ctx context.Context, a *app, args []string) error {
			if len(args) == 0 {
				return a.listRepositories()
			}
			r, err := a.find(args[0], p)
			if err != nil {
				return err
			}
			o, err := r.reading()
			if err != nil {
				return err
			}
			info, err := publish.Info(ctx, r.storage, o)
			if err != nil {
				return err
			}
			return a.print(infoJSON(r, info), infoText(r, info))
		},
	}
}

func (a *app) listRepositories() error {
	all := a.configured()
	var b strings.Builder
	for _, s := range all {
		fmt.Fprintf(&b, "%s  %s\n", s.FQRN, s.Storage)
	}
	if all == nil {
		all = []settings{}
	}
	return a.print(all, b.String())
}

func infoJSON(r *repository, i publish.Information) map[string]any {
	m, c := i.Manifest, i.Counters
	return map[string]any{
		"fqrn": r.fqrn, "storage": r.storage.String(), "revision": m.Revision, "root": m.Root, "timestamp": m.Timestamp, "ttl": m.TTL,
		"garbage_collectable": m.Collectable, "certificate": m.Certificate, "history": m.History, "reflog": m.Reflog,
		"whitelist_expires": i.Whitelist.UTC().Format(time.RFC3339), "tags": len(i.Tags),
		"entries": c.Entries(), "files": c.Regular, "directories": c.Dir, "links": c.Symlink, "bytes": c.FileSize, "catalogs": c.Nested + 1,
	}
}

func infoText(r *repository, i publish.Information) string {
	m, c := i.Manifest, i.Counters
	var b strings.Builder
	for _, line := range [][2]string{
		{"repository", r.fqrn},
		{"storage", r.storage.String()},
		{"revision", fmt.Sprintf("%d of %s", m.Revision, clock(m.Timestamp))},
		{"root catalog", m.Root.String()},
		{"content", fmt.Sprintf("%d files, %s, %d directories, %d links, in %d catalogs", c.Regular, show.Size(c.FileSize), c.Dir, c.Symlink, c.Nested+1)},
		{"tags", fmt.Sprint(len(i.Tags))},
		{"whitelist until", clock(i.Whitelist.Unix())},
		{"clients look", fmt.Sprintf("every %d s", m.TTL)},
	} {
		fmt.Fprintf(&b, "%-16s %s\n", line[0]+":", line[1])
	}
	return b.String()
}
