package convert

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"iter"
	"path"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/flatrun/flatrun/unpacked"
	"github.com/flatrun/flatrun/unpacked/layer"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// layerMark is the file beside a layer's tree that says it was made by this package: DUCC's layers carry literal ".wh."
// files and have lost owners, capabilities and hard links, so that a flat image made of them would be wrong.
const layerMark = ".metadata/flathub.json"

// madeLayer is a layer that the repository has, or will have with the transaction.
type madeLayer struct {
	items iter.Seq2[publish.Item, error] // paths relative to the layer's root; may be read again
	fresh bool                           // read from its source by this transaction
	size  int64                          // bytes of its tar, if it is fresh
	close func() error                   // frees items; nil: nothing to free
	diff  string                         // digest of its tar
	done  chan struct{}
	err   error
}

// layerRecord is the content of layerMark.
type layerRecord struct {
	Version int    `json:"version"`
	DiffID  string `json:"diff_id"`
}

// layer makes one layer, once for all images.
func (c *Converter) layer(ctx context.Context, img Image, l v1.Layer, diffID v1.Hash, image unpacked.Digest) (*madeLayer, error) {
	h, err := l.Digest()
	if err != nil {
		return nil, err
	}
	digest, err := unpacked.ParseDigest(h.String())
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	made, known := c.layers[digest]
	if !known {
		made = &madeLayer{done: make(chan struct{})}
		if c.layers == nil {
			c.layers = map[unpacked.Digest]*madeLayer{}
		}
		c.layers[digest] = made
	}
	c.mu.Unlock()
	if known {
		select {
		case <-made.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return made, made.check(digest, diffID)
	}
	made.err = c.make(ctx, made, img, l, digest, diffID, image)
	if made.err != nil {
		c.mu.Lock()
		delete(c.layers, digest) // the next image may have more luck
		c.mu.Unlock()
		made.err = fmt.Errorf("layer %s: %w", digest, made.err)
	}
	close(made.done)
	return made, made.check(digest, diffID)
}

// recorded is the digest of the tar of a layer that the repository has from this package; "" if it has none.
func (c *Converter) recorded(ctx context.Context, digest unpacked.Digest) string {
	var r layerRecord
	text, err := readFile(ctx, c.Tx.Base(), path.Join(unpacked.LayerDir(digest), layerMark))
	if err != nil || json.Unmarshal(text, &r) != nil {
		return ""
	}
	return r.DiffID
}

// check is the error of a layer that is done, or compares what an image's configuration says of it with what it is: with a
// chain of other layers' names an image could put its own in their place in podman's store.
func (m *madeLayer) check(digest unpacked.Digest, diffID v1.Hash) error {
	if m.err != nil || m.diff == diffID.String() {
		return m.err
	}
	return fmt.Errorf("layer %s: its uncompressed form is %s, not %s as the image's configuration says: the image is broken", digest, m.diff, diffID)
}

func (c *Converter) make(ctx context.Context, made *madeLayer, img Image, l v1.Layer, digest unpacked.Digest, diffID v1.Hash, image unpacked.Digest) error {
	root := unpacked.LayerRoot(digest)
	if made.diff = c.recorded(ctx, digest); made.diff != "" && !c.Again {
		made.items = withoutMarker(rebase(c.Tx.Items(root), root, ""))
		c.report(Progress{Image: img.Name.String(), Layer: digest, Done: true})
		return nil
	}
	made.fresh, made.diff = true, diffID.String()
	if err := c.read(ctx, made, img, l, digest, diffID); err != nil {
		return err
	}
	shard := path.Dir(unpacked.LayerDir(digest))
	if err := c.catalogs(unpacked.Layers, shard); err != nil {
		return err
	}
	if err := c.Tx.Replace(root, rebase(made.items, "", root)); err != nil {
		return err
	}
	if err := putMarker(c.Tx, root); err != nil { // whatever the base has: the tree that took its place has none
		return err
	}
	return c.layerMetadata(ctx, img, digest, diffID, image, made.size)
}

// withoutMarker leaves out the catalog marker at a layer's root: it is the repository's, not the image's.
func withoutMarker(items iter.Seq2[publish.Item, error]) iter.Seq2[publish.Item, error] {
	return func(yield func(publish.Item, error) bool) {
		for it, err := range items {
			if err == nil && it.Path == "/"+unpacked.CatalogMarker {
				continue
			}
			if !yield(it, err) {
				return
			}
		}
	}
}

// layerSize is the size of a layer's tar, 0 where it is not known.
func (c *Converter) layerSize(ctx context.Context, digest unpacked.Digest) int64 {
	c.mu.Lock()
	made := c.layers[digest]
	c.mu.Unlock()
	if made != nil && made.fresh {
		return made.size
	}
	var rows []podmanLayer
	text, err := readFile(ctx, c.Tx.Base(), unpacked.LayerConfig(digest))
	if err != nil || json.Unmarshal(text, &rows) != nil || len(rows) == 0 {
		return 0
	}
	return rows[0].DiffSize
}

// read streams a layer's blob into objects and leaves its rows in made.
func (c *Converter) read(ctx context.Context, made *madeLayer, img Image, l v1.Layer, digest unpacked.Digest, diffID v1.Hash) error {
	size, err := l.Size()
	if err != nil {
		return err
	}
	blob, err := newSteady(ctx, l.Compressed)
	if err != nil {
		return err
	}
	defer blob.Close()
	news := Progress{Image: img.Name.String(), Layer: digest, Size: size}
	stored := &sum{r: &reporter{r: blob, report: c.report, news: news}}
	if !img.verified {
		stored.h = sha256.New()
	}
	plain, err := layer.Decompress(stored, c.MaxLayer)
	if err != nil {
		return err
	}
	defer plain.Close()
	tar := &sum{r: plain, h: sha256.New()}
	tar.wait = plain.Sum(tar.h)
	rows, err := layer.Read(ctx, c.Tx, tar, layer.Options{Scratch: c.Tx.Scratch(), Whiteouts: true, Max: c.MaxLayer, Source: plain})
	if err != nil {
		return err
	}
	// What follows the end of the archive is part of the digests.
	if err := tar.drain(diffID.String()); err != nil {
		rows.Close()
		return fmt.Errorf("its uncompressed form: %w", err)
	}
	if err := stored.drain(string(digest)); err != nil {
		rows.Close()
		return err
	}
	made.items, made.close, made.size = withoutMarker(rows.Items()), rows.Close, tar.n
	news.Read, news.Done = size, true
	c.report(news)
	return nil
}

func (c *Converter) report(p Progress) {
	if c.Progress != nil {
		c.Progress(p)
	}
}

func (c *Converter) layerMetadata(ctx context.Context, img Image, digest unpacked.Digest, diffID v1.Hash, image unpacked.Digest, size int64) error {
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	for name, value := range map[string]any{
		unpacked.LayerOrigin(digest):                    c.origin(ctx, digest, image),
		unpacked.LayerConfig(digest):                    []podmanLayer{{ID: diffID.Hex, Created: config.Created.UTC().Format(time.RFC3339Nano), CompressedDigest: string(digest), DiffDigest: diffID.String(), DiffSize: size}},
		path.Join(unpacked.LayerDir(digest), layerMark): layerRecord{Version: 1, DiffID: diffID.String()},
	} {
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		if err := c.Tx.PutFile(name, 0o644, bytes.NewReader(text)); err != nil {
			return err
		}
	}
	return nil
}

// layerOrigin is the file that DUCC keeps of the images that a layer was seen in.
type layerOrigin struct {
	Images []unpacked.Digest `json:"origin"`
}

// origin is a layer's with image added: one that DUCC made, and that is made anew, keeps what it tells.
func (c *Converter) origin(ctx context.Context, layer, image unpacked.Digest) layerOrigin {
	var o layerOrigin
	text, err := readFile(ctx, c.Tx.Base(), unpacked.LayerOrigin(layer))
	if err != nil || json.Unmarshal(text, &o) != nil {
		o = layerOrigin{}
	}
	if !slices.Contains(o.Images, image) {
		o.Images = append(o.Images, image)
	}
	return o
}

// sum hashes what is read through it.
type sum struct {
	r io.Reader
	h hash.Hash // nil: r itself fails where its bytes are not the right ones
	n int64

	wait func() // nil: h is given what is read; else somebody else does that until wait returns
}

func (s *sum) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if s.h != nil && s.wait == nil {
		s.h.Write(p[:n])
	}
	s.n += int64(n)
	return n, err
}

// drain reads to the end and compares the digest.
func (s *sum) drain(want string) error {
	if _, err := io.Copy(io.Discard, s); err != nil || s.h == nil {
		return err
	}
	if s.wait != nil {
		s.wait()
	}
	if got := "sha256:" + hex.EncodeToString(s.h.Sum(nil)); got != want {
		return fmt.Errorf("digest is %s, not %s: the source gave other bytes than the image names", got, want)
	}
	return nil
}

// reporter tells of progress at every mebibyte.
type reporter struct {
	r      io.Reader
	report func(Progress)
	news   Progress
	told   int64
}

func (r *reporter) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.news.Read += int64(n)
	if r.news.Read-r.told >= 1<<20 {
		r.told = r.news.Read
		r.report(r.news)
	}
	return n, err
}

// sorted is a stream of items in path order.
func sorted(items []publish.Item) iter.Seq2[publish.Item, error] {
	slices.SortFunc(items, func(a, b publish.Item) int { return publish.ComparePaths(a.Path, b.Path) })
	return func(yield func(publish.Item, error) bool) {
		for _, it := range items {
			if !yield(it, nil) {
				return
			}
		}
	}
}
