package main

import (
	"context"
	"os"
)

// runSite prints what the site decides about containers, for site.Decode.
func runSite(_ context.Context, c *call) error {
	settings, err := c.settings()
	if err != nil {
		return err
	}
	text, err := settings.Runtime.Encode()
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}
