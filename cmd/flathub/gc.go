package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/flatrun/flatrun/cmd/show"
	"github.com/flatrun/flatrun/unpacked/publish"
)

func gcVerb() verb {
	var p place
	var o publish.GCOptions
	var list bool
	var keep uint
	return verb{
		name: "gc", operands: "FQRN", min: 1, max: 1,
		short: "delete what only old revisions need",
		long: `
Kept are the newest revision, every tagged one, and of the others those that are young enough
or among the newest --keep. Generic tags, which publish makes, expire like revisions.`,
		examples: "flathub gc images.example.org --dry-run\nflathub gc images.example.org --keep-for 24h --orphans",
		flags: func(f *pflag.FlagSet) {
			addDuration(f, &o.KeepFor, "keep-for", 72*time.Hour, "keep revisions younger than this; clients need some time to move on")
			f.UintVar(&keep, "keep", 0, "keep `N` revisions before the newest")
			f.BoolVar(&o.Orphans, "orphans", false, "also delete what interrupted runs left; lists the whole storage")
			addDuration(f, &o.OrphanAge, "orphan-age", 24*time.Hour, "of that, only what is older; 0s where no other tools publish")
			f.BoolVarP(&o.DryRun, "dry-run", "n", false, "only tell what would be deleted")
			f.BoolVarP(&list, "list", "l", false, "list the files")
			p.addWriter(f)
		},
		run: func(ctx context.Context, a *app, args []string) error {
			r, keys, err := a.findWithKeys(args[0], p)
			if err != nil {
				return err
			}
			o.Keep = int(keep)
			if o.KeepFor == 0 {
				o.KeepFor = -1 // for the library, 0 is the default
			}
			if o.OrphanAge == 0 {
				o.OrphanAge = -1
			}
			files := []string{} // no null in JSON
			switch {
			case list && a.json:
				o.Deleted = func(name string) { files = append(files, name) }
			case list:
				o.Deleted = func(name string) { fmt.Fprintln(a.out, name) }
			}
			c, err := publish.GC(ctx, r.storage, keys, r.options, o)
			if err != nil {
				return err
			}
			verbed := "deleted"
			if o.DryRun {
				verbed = "would delete"
			}
			result := map[string]any{
				"fqrn": args[0], "revisions": c.Revisions, "tags": c.Tags, "objects": c.Objects, "bytes": c.Bytes, "dry_run": o.DryRun,
			}
			if list {
				result["files"] = files
			}
			return a.print(result, fmt.Sprintf("%s: %s %d revisions, %d generic tags, %d objects, %s\n", args[0], verbed, c.Revisions, c.Tags, c.Objects, show.Size(c.Bytes)))
		},
	}
}
