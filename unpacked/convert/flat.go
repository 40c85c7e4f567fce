package convert

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/unpacked"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// trees makes the layers that are missing and what lies over all of them, and the merged tree if the whole image is to be
// made, or one of its layers was not such as this package makes them.
func (c *Converter) trees(ctx context.Context, img Image, id unpacked.Digest, layers []v1.Layer, whole bool) (fresh int, err error) {
	config, err := img.ConfigFile()
	if err != nil {
		return 0, err
	}
	if m, err := img.Manifest(); err == nil && len(config.RootFS.DiffIDs) == 0 && len(layers) > 0 && !m.Config.MediaType.IsConfig() {
		return 0, fmt.Errorf("no container's image: what it has for a configuration is %q", m.Config.MediaType)
	}
	if len(config.RootFS.DiffIDs) != len(layers) {
		return 0, fmt.Errorf("the configuration lists %d layers, the manifest %d: the image is broken", len(config.RootFS.DiffIDs), len(layers))
	}
	made := make([]*madeLayer, len(layers))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(layersAtOnce())
	for _, i := range largestFirst(layers) {
		group.Go(func() (err error) {
			made[i], err = c.layer(gctx, img, layers[i], config.RootFS.DiffIDs[i], id)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	var stack []iter.Seq2[publish.Item, error]
	for _, l := range made {
		stack = append(stack, l.items)
		if l.fresh {
			fresh++
		}
	}
	merged := newFollower(stack)
	if whole || fresh > 0 {
		err = c.flat(ctx, id, config, merged)
	} else {
		err = merged.all(drain)
	}
	if err != nil {
		return fresh, err
	}
	return fresh, c.stack(id, merged, once(made))
}

// largestFirst is the order in which layers are read: at the end none is long alone.
func largestFirst(layers []v1.Layer) []int {
	order, size := make([]int, len(layers)), make([]int64, len(layers))
	for i, l := range layers {
		order[i] = i
		size[i], _ = l.Size() // what is wrong with it is told when it is read
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(size[b], size[a]) })
	return order
}

// once are the layers that the kernel is given: see [unpacked.Thin.Stack]. The image itself wants each in its place, for
// what lies between two of them may go through links of the lower one.
func once(layers []*madeLayer) []iter.Seq2[publish.Item, error] {
	var stack []iter.Seq2[publish.Item, error]
	for i, l := range layers {
		if !slices.Contains(layers[i+1:], l) {
			stack = append(stack, l.items)
		}
	}
	return stack
}

// drain reads items to their end.
func drain(items iter.Seq2[publish.Item, error]) error {
	for _, err := range items {
		if err != nil {
			return err
		}
	}
	return nil
}

// flat writes the merged tree.
func (c *Converter) flat(ctx context.Context, id unpacked.Digest, config *v1.ConfigFile, merged *follower) error {
	skeleton, err := c.skeleton(ctx, config)
	if err != nil {
		return err
	}
	if err := c.catalogs(unpacked.Flats); err != nil {
		return err
	}
	root := unpacked.FlatRoot(id)
	// Singularity's files stand apart from the layers, which cannot remove them.
	err = merged.all(func(image iter.Seq2[publish.Item, error]) error {
		return c.Tx.Replace(root, rebase(Merge(skeleton, image), "", root))
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flats == nil {
		c.flats = map[unpacked.Digest]bool{}
	}
	c.flats[id] = true
	return nil
}

// skeleton is what lies below a flat image: the catalog's marker and Singularity's files, which give way to whatever the
// image has.
func (c *Converter) skeleton(ctx context.Context, config *v1.ConfigFile) (iter.Seq2[publish.Item, error], error) {
	files := append(skeleton(config), skeletonFile{"/" + unpacked.CatalogMarker, modeFile, ""})
	mtime := config.Created.Unix()
	if config.Created.IsZero() {
		mtime = 0
	}
	items := make([]publish.Item, len(files))
	for i, f := range files {
		items[i] = publish.Item{Path: f.path, Entry: catalog.Entry{Mode: f.mode, Mtime: mtime, MtimeNsec: -1}}
		switch f.mode & unix.S_IFMT {
		case unix.S_IFLNK:
			items[i].Entry.Symlink = f.text
		case unix.S_IFREG:
			content, err := c.Tx.Ingest(ctx, bytes.NewReader([]byte(f.text)))
			if err != nil {
				return nil, err
			}
			content.Apply(&items[i])
		}
	}
	return sorted(items), nil
}

// catalogs places catalog markers in directories, where DUCC has them.
func (c *Converter) catalogs(dirs ...string) error { return placeCatalogs(c.Tx, dirs...) }

func placeCatalogs(tx *publish.Tx, dirs ...string) error {
	for _, dir := range dirs {
		marker := dir + "/" + unpacked.CatalogMarker
		if _, err := tx.Lookup(marker); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := putMarker(tx, dir); err != nil {
			return err
		}
	}
	return nil
}

func putMarker(tx *publish.Tx, dir string) error {
	return tx.PutFile(dir+"/"+unpacked.CatalogMarker, 0o644, bytes.NewReader(nil))
}
