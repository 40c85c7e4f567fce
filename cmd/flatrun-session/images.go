package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/flatrun/flatrun/mount/session"
)

// imageQuery is what flatrun asks.
type imageQuery struct {
	session.ImageQuery
	Complete *string // names that begin with it are asked for
}

// runImages prints what the configured repositories hold, as JSON. The query is JSON too. Repositories that fail are the
// error, after the others were printed.
func runImages(ctx context.Context, c *call) error {
	var q imageQuery
	if len(c.args) > 0 {
		if err := json.Unmarshal([]byte(c.args[0]), &q); err != nil {
			return fmt.Errorf("query of images: %w", err)
		}
	}
	settings, err := c.settings()
	if err != nil {
		return err
	}
	list, err := session.Images(ctx, settings, q.ImageQuery, nil)
	if q.Complete != nil {
		return printJSON(session.Completions(list, *q.Complete, settings.Images.DefaultRegistry))
	}
	if list == nil {
		list = []session.Image{}
	}
	return errors.Join(printJSON(list), err)
}
