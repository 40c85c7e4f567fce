package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/flatrun/flatrun/unpacked/publish"
)

func rollbackVerb() verb {
	var p place
	var how publish.RollbackOptions
	return verb{
		name: "rollback", operands: "FQRN [REVISION]", min: 1, max: 2,
		short: "publish an earlier revision as the newest",
		long: `
REVISION is a tag, a number or a root catalog's hash; by default trunk-previous, which undoes
the last publication. As the official server does, tags of later revisions are removed and a
tag given as REVISION moves to the new one; then only a named revision can be rolled back to
until something is published. With --keep-tags all tags stay where they are, and a second
rollback undoes the first.`,
		examples: "flathub rollback sw.example.org\nflathub rollback sw.example.org release-6",
		flags: func(f *pflag.FlagSet) {
			f.BoolVar(&how.KeepTags, "keep-tags", false, "leave tags of later revisions, so that they can be mounted and rolled back to")
			p.addWriter(f)
		},
		run: func(ctx context.Context, a *app, args []string) error {
			r, keys, err := a.findWithKeys(args[0], p)
			if err != nil {
				return err
			}
			revision := ""
			if len(args) > 1 {
				revision = args[1]
			}
			m, removed, err := publish.Rollback(ctx, r.storage, keys, r.options, revision, how)
			if err != nil {
				return err
			}
			names := []string{}
			for _, t := range removed {
				names = append(names, t.Name)
			}
			text := fmt.Sprintf("%s: revision %d\n", args[0], m.Revision)
			if len(names) > 0 {
				text = fmt.Sprintf("%s: revision %d; removed tags %s\n", args[0], m.Revision, strings.Join(names, ", "))
			}
			return a.print(map[string]any{"fqrn": args[0], "revision": m.Revision, "root": m.Root, "removed_tags": names}, text)
		},
	}
}
