package main

import (
	"context"
	"fmt"

	"github.com/flatrun/flatrun/unpacked/publish"
)

func rollbackVerb() verb {
	var p place
	return verb{
		name: "rollback", operands: "FQRN [REVISION]", min: 1, max: 2,
		short: "publish an earlier revision as the newest",
		long: `
REVISION is a tag, a number or a root catalog's hash; by default trunk-previous, which undoes
the last publication. What is rolled back stays in the history: a second rollback undoes the
first.`,
		examples: "flathub rollback sw.example.org\nflathub rollback sw.example.org release-6",
		flags:    p.add,
		run: func(ctx context.Context, a *app, args []string) error {
			r, err := a.find(args[0], p)
			if err != nil {
				return err
			}
			keys, err := r.keys()
			if err != nil {
				return err
			}
			revision := ""
			if len(args) > 1 {
				revision = args[1]
			}
			m, err := publish.Rollback(ctx, r.storage, keys, r.options, revision)
			if err != nil {
				return err
			}
			return a.print(map[string]any{"fqrn": args[0], "revision": m.Revision, "root": m.Root},
				fmt.Sprintf("%s: revision %d\n", args[0], m.Revision))
		},
	}
}
