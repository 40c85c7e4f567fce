package publish

import (
	"context"
	"time"

	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/repo"
)

// Information is what can be told about a repository without reading all of it.
type Information struct {
	Manifest  *repo.Manifest
	Tags      []catalog.Tag
	Counters  catalog.Counters // over all catalogs
	Whitelist time.Time        // when it expires
}

// Info reads a repository's head.
func Info(ctx context.Context, s Storage, o ReadOptions) (info Information, err error) {
	v, err := openView(ctx, s, o)
	if err != nil {
		return info, err
	}
	defer v.close()
	info.Manifest = v.rev.Manifest()
	if info.Tags, err = v.repo.Tags(ctx); err != nil {
		return info, err
	}
	stats, err := v.rev.Root().Catalog.Statistics()
	if err != nil {
		return info, err
	}
	info.Counters = stats.Total()
	list, err := readWhitelist(ctx, s)
	if err != nil {
		return info, err
	}
	info.Whitelist = list.Expires
	return info, nil
}
