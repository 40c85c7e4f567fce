package convert

import (
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"sync"

	"github.com/flatrun/flatrun/unpacked"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// layersAtOnce is how many layers are read from their source together: one for each core, as reading is half of the work, and
// more than one where there is one core, for it has to wait for the network.
func layersAtOnce() int { return min(max(runtime.GOMAXPROCS(0), 2), 4) }

// Converter writes images into a transaction. It may be used for any number of images; a layer or flat image that several
// of them share is made once.
type Converter struct {
	Tx       *publish.Tx
	FQRN     string         // in thin images' URLs
	Again    bool           // make anew what the repository has
	ForThin  bool           // for thin images: also make what lacks to stack the layers of images that the repository has
	MaxLayer int64          // bytes that a layer may come to, see layer.Read; 0: layer.DefaultMax
	Progress func(Progress) // called from several goroutines; nil: nobody looks

	mu     sync.Mutex
	layers map[unpacked.Digest]*madeLayer
	flats  map[unpacked.Digest]bool
	stacks map[unpacked.Digest]bool // whether something lies over an image's layers
	podman *podmanStore
}

// Progress is news of one layer.
type Progress struct {
	Image string
	Layer unpacked.Digest
	Size  int64 // bytes of the compressed layer
	Read  int64 // of them so far
	Done  bool  // read to its end, or found in the repository
}

// Result says what became of an image.
type Result struct {
	Image     string          `json:"image"`
	Platform  string          `json:"platform"`
	ID        unpacked.Digest `json:"id"` // of the configuration
	Path      string          `json:"path"`
	Layers    int             `json:"layers"`
	NewLayers int             `json:"new_layers"`
	Unchanged bool            `json:"unchanged"` // the repository had it under this name

	digests []unpacked.Digest // of the layers
}

// Convert writes the images of one reference, as Source.Open gives them: the first of them is the one that the plain name
// leads to, each can be run by its digest and by NAME:TAG@OS-ARCH.
func (c *Converter) Convert(ctx context.Context, images []Image) ([]Result, error) {
	var results []Result
	for i, img := range images {
		r, err := c.image(ctx, img, i == 0, len(images) > 1)
		if err != nil {
			return results, fmt.Errorf("image %s (%s): %w", img.Name, img.Platform, err)
		}
		results = append(results, r)
	}
	return results, nil
}

// Close frees what the layers' rows take. The transaction stands by itself.
func (c *Converter) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, l := range c.layers {
		if l.close != nil {
			errs = append(errs, l.close())
		}
	}
	c.layers = nil
	return errors.Join(errs...)
}

func (c *Converter) image(ctx context.Context, img Image, first, several bool) (Result, error) {
	id, digest, err := identity(img)
	if err != nil {
		return Result{}, err
	}
	layers, err := img.Layers()
	if err != nil {
		return Result{}, err
	}
	digests, err := layerDigests(img)
	if err != nil {
		return Result{}, err
	}
	r := Result{digests: digests, Image: img.Name.String(), Platform: img.Platform, ID: id, Path: unpacked.FlatRoot(id), Layers: len(layers)}
	names := c.names(img, digest, first, several)
	whole := c.Again || !c.has(r.Path)
	known := !whole && c.present(names, r.Path)
	stackable, err := c.stacked(id)
	if err != nil {
		return r, err
	}
	// An image that was compressed anew has layers of other names.
	if whole || c.lacks(digests) || c.ForThin && !stackable {
		if r.NewLayers, err = c.trees(ctx, img, id, layers, whole); err != nil {
			return r, err
		}
		if stackable, err = c.stacked(id); err != nil {
			return r, err
		}
		known = known && r.NewLayers == 0 && !stackable
	}
	if known {
		r.Unchanged = true
		return r, nil
	}
	for _, name := range names {
		if err := c.Tx.Symlink(name, unpacked.Link(name, r.Path)); err != nil {
			return r, err
		}
	}
	if first {
		if err := c.forPodman(ctx, img); err != nil {
			return r, err
		}
	}
	dir := path.Join(unpacked.Metadata, img.Name.String())
	if !first {
		dir += "@" + PlatformName(img.Platform)
	}
	return r, c.metadata(img, dir)
}

// forPodman adds the image to the store in the repository.
func (c *Converter) forPodman(ctx context.Context, img Image) (err error) {
	if c.podman == nil {
		if c.podman, err = readPodmanStore(ctx, c.Tx); err != nil {
			return err
		}
	}
	if err := c.podman.add(c.Tx, img, img.Name.String(), func(d unpacked.Digest) int64 { return c.layerSize(ctx, d) }); err != nil {
		return err
	}
	return c.podman.write(c.Tx)
}

// identity are the digests of an image's configuration and of its manifest.
func identity(img Image) (id, digest unpacked.Digest, err error) {
	config, err := img.ConfigName()
	if err != nil {
		return "", "", err
	}
	manifest, err := img.Digest()
	if err != nil {
		return "", "", err
	}
	if id, err = unpacked.ParseDigest(config.String()); err != nil {
		return "", "", err
	}
	digest, err = unpacked.ParseDigest(manifest.String())
	return id, digest, err
}

// names are the links that lead to an image.
func (c *Converter) names(img Image, digest unpacked.Digest, first, several bool) []string {
	base := "/" + img.Name.Name()
	names := []string{base + "@" + string(digest)}
	if first && img.Index != "" {
		names = append(names, base+"@"+string(img.Index))
	}
	if img.Name.Tag == "" {
		return names
	}
	tagged := base + ":" + img.Name.Tag
	if first {
		names = append(names, tagged)
	}
	if several {
		names = append(names, tagged+"@"+PlatformName(img.Platform))
	}
	return names
}

// present tells whether every name leads to the flat image already.
func (c *Converter) present(names []string, flat string) bool {
	for _, name := range names {
		it, err := c.Tx.Lookup(name)
		if err != nil || it.Entry.Symlink != unpacked.Link(name, flat) {
			return false
		}
	}
	return c.has(flat)
}

// lacks tells whether one of an image's layers is not there.
func (c *Converter) lacks(layers []unpacked.Digest) bool {
	return slices.ContainsFunc(layers, func(d unpacked.Digest) bool { return !c.has(unpacked.LayerRoot(d)) })
}

// has tells whether the base revision or this transaction has a path.
func (c *Converter) has(p string) bool {
	c.mu.Lock()
	id, ok := unpacked.ImageOf(p + "/.")
	made := ok && c.flats[id]
	c.mu.Unlock()
	if made {
		return true
	}
	_, err := c.Tx.Lookup(p)
	return err == nil
}
