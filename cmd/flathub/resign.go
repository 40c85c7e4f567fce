package main

import (
	"context"
	"fmt"

	"github.com/flatrun/flatrun/unpacked/publish"
)

func resignVerb() verb {
	var p place
	return verb{
		name: "resign", operands: "FQRN", min: 1, max: 1,
		short: "renew the whitelist for 30 days",
		long: `
Signs the whitelist with the master key and the manifest with the repository key. Run it every
few weeks: after 30 days clients refuse the repository.`,
		examples: "flathub resign images.example.org",
		flags:    p.addWriter,
		run: func(ctx context.Context, a *app, args []string) error {
			r, keys, err := a.findWithKeys(args[0], p)
			if err != nil {
				return err
			}
			if err := publish.Resign(ctx, r.storage, keys, r.options); err != nil {
				return err
			}
			return a.print(map[string]any{"fqrn": args[0]}, fmt.Sprintf("%s: whitelist renewed for 30 days\n", args[0]))
		},
	}
}
