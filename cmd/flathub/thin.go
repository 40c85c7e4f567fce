package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/flatrun/flatrun/unpacked/convert"
)

func thinVerb() verb {
	var s sourceFlags
	return verb{
		name: "thin", operands: "show IMAGE", min: 2, max: 2,
		short: "print what a thin image names instead of containing it",
		long: `
IMAGE is what convert takes. With --json there is the image's configuration, too. flatrun runs this
to start a thin image from a registry or an archive.`,
		examples: `
flathub thin show registry.example.org/library/python_thin:3
flathub thin show oci-archive:thin.tar`,
		flags: s.add,
		run: func(ctx context.Context, a *app, args []string) error {
			if args[0] != "show" {
				return usageError{"thin", fmt.Sprintf("thin %s: want thin show IMAGE", args[0])}
			}
			source, err := s.source("thin")
			if err != nil {
				return err
			}
			return a.thinShow(ctx, source, args[1])
		},
	}
}

// localName stands for the name that an archive does not have and that is not looked at.
const localName = "localhost/image:thin"

func (a *app) thinShow(ctx context.Context, source convert.Source, ref string) error {
	name := ""
	if convert.IsLocal(ref) {
		name = localName
	}
	images, err := source.Open(ctx, ref, name)
	if err != nil {
		return err
	}
	thin, err := convert.ReadThin(images[0])
	if err != nil {
		return fmt.Errorf("image %s: %w", ref, err)
	}
	text, err := thin.Encode()
	if err != nil {
		return err
	}
	config, err := images[0].RawConfigFile()
	if err != nil {
		return fmt.Errorf("image %s: %w", ref, err)
	}
	return a.print(map[string]json.RawMessage{"thin": text, "config": config}, string(text))
}
