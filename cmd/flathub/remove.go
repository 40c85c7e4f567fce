package main

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/unpacked/publish"
)

func removeVerb() verb {
	var p place
	var c commitFlags
	return verb{
		name: "remove", operands: "FQRN /PATH …", min: 2, max: -1,
		short:    "publish a revision without some paths",
		long:     "Earlier revisions keep them; gc frees the space once those are old enough.",
		examples: "flathub remove sw.example.org /gcc/4.8 /gcc/4.9",
		flags:    func(f *pflag.FlagSet) { c.add(f); p.addWriter(f) },
		run: func(ctx context.Context, a *app, args []string) error {
			r, err := a.find(args[0], p)
			if err != nil {
				return err
			}
			return a.transact(ctx, r, c.options(), func(tx *publish.Tx) error {
				for _, path := range args[1:] {
					path = catalog.Clean(path)
					if _, err := tx.Lookup(path); err != nil {
						return fmt.Errorf("remove: %w", err)
					}
					if err := tx.Remove(path); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}
