package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/unpacked/publish"
)

func tagVerb() verb {
	var p place
	var revision, description string
	var remove bool
	return verb{
		name: "tag", operands: "FQRN [NAME …]", min: 1, max: -1,
		short: "list, add or remove names of revisions",
		long: `
Without NAME the tags are listed. A tagged revision can be mounted by its tag and is never
collected.`,
		examples: `
flathub tag sw.example.org
flathub tag sw.example.org release-7 --description 'as validated'
flathub tag sw.example.org release-6 --revision 41
flathub tag sw.example.org --remove release-5`,
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&revision, "revision", "", "tag, number or root catalog of the revision to name (default: the newest)")
			f.StringVar(&description, "description", "", "describe the tag")
			f.BoolVar(&remove, "remove", false, "remove the tags")
			f.Bool("list", false, "list the tags; so does giving no name")
			p.addWriter(f)
		},
		run: func(ctx context.Context, a *app, args []string) error {
			r, err := a.find(args[0], p)
			if err != nil {
				return err
			}
			names := args[1:]
			if len(names) == 0 {
				return a.listTags(ctx, r)
			}
			keys, err := r.keys()
			if err != nil {
				return err
			}
			verbed := "removed"
			if remove {
				_, err = publish.RemoveTags(ctx, r.storage, keys, r.options, names...)
			} else {
				verbed = "tagged"
				for _, name := range names {
					if _, err = publish.AddTag(ctx, r.storage, keys, r.options, name, revision, description); err != nil {
						break
					}
				}
			}
			if err != nil {
				return err
			}
			return a.print(map[string]any{"fqrn": args[0], verbed: names}, "")
		},
	}
}

func (a *app) listTags(ctx context.Context, r *repository) error {
	o, err := r.reading()
	if err != nil {
		return err
	}
	tags, err := publish.Tags(ctx, r.storage, o)
	if err != nil {
		return err
	}
	if tags == nil {
		tags = []catalog.Tag{}
	}
	return a.print(tags, tagTable(tags))
}

func tagTable(tags []catalog.Tag) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tREVISION\tTIME\tROOT CATALOG\tDESCRIPTION")
	for _, t := range tags {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", t.Name, t.Revision, clock(t.Timestamp), t.Hash, t.Description)
	}
	w.Flush()
	return b.String()
}

// clock is how times are shown.
func clock(unix int64) string { return time.Unix(unix, 0).UTC().Format("2006-01-02 15:04:05Z") }
