package convert

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/flatrun/flatrun/unpacked"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// The parts of containers/storage's overlay layout, as an additional image store of podman reads it.
const (
	podmanOverlay = unpacked.PodmanStore + "/overlay"
	podmanLinks   = podmanOverlay + "/l"
	podmanImages  = unpacked.PodmanStore + "/overlay-images"
	podmanLayers  = unpacked.PodmanStore + "/overlay-layers"
)

type podmanImage struct {
	ID      string   `json:"id"`
	Names   []string `json:"names"`
	Layer   string   `json:"layer"`
	Created string   `json:"created"`
}

// podmanLayer is a layer in the store's index, and, alone in a list, what is kept beside the layer's tree.
type podmanLayer struct {
	ID               string `json:"id"`
	Parent           string `json:"parent,omitempty"`
	Created          string `json:"created"`
	CompressedDigest string `json:"compressed-diff-digest"`
	CompressedSize   int64  `json:"compressed-size,omitempty"`
	DiffDigest       string `json:"diff-digest"`
	DiffSize         int64  `json:"diff-size"`
}

// podmanStore adds images to the store of the repository. Layers go by OCI's chain id, as podman itself names them, so
// that a layer that lies on different ones in two images is two layers here, too.
type podmanStore struct {
	images  []podmanImage
	layers  []podmanLayer
	changed bool
}

func readPodmanStore(ctx context.Context, tx *publish.Tx) (*podmanStore, error) {
	s := &podmanStore{}
	for name, into := range map[string]any{podmanImages + "/images.json": &s.images, podmanLayers + "/layers.json": &s.layers} {
		text, err := readFile(ctx, tx.Base(), name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return s, nil
}

// add puts an image into the store; name is taken away from an image that had it. size tells the bytes of a layer's tar.
func (s *podmanStore) add(tx *publish.Tx, img Image, name string, size func(unpacked.Digest) int64) error {
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	m, err := img.Manifest()
	if err != nil {
		return err
	}
	made := config.Created.UTC().Format(time.RFC3339Nano)
	var parent string
	var lower []string
	for i, l := range m.Layers {
		diff := config.RootFS.DiffIDs[i].String()
		row := podmanLayer{ID: chainID(parent, diff), Parent: parent, Created: made, CompressedDigest: l.Digest.String(), CompressedSize: l.Size, DiffDigest: diff}
		row.DiffSize = size(unpacked.Digest(row.CompressedDigest))
		if err := s.addLayer(tx, row, lower); err != nil {
			return err
		}
		lower = append([]string{"l/" + shortID(row.ID)}, lower...)
		parent = row.ID
	}
	return s.addImage(tx, img, podmanImage{ID: m.Config.Digest.Hex, Names: []string{name}, Layer: parent, Created: made})
}

// addLayer adds a layer that is not there. One that is may be DUCC's, whose links have other names.
func (s *podmanStore) addLayer(tx *publish.Tx, row podmanLayer, lower []string) error {
	if slices.ContainsFunc(s.layers, func(have podmanLayer) bool { return have.ID == row.ID }) {
		return addPodmanLink(tx, row.ID)
	}
	s.layers = append(s.layers, row)
	s.changed = true
	return addPodmanLayer(tx, row, lower)
}

func (s *podmanStore) addImage(tx *publish.Tx, img Image, row podmanImage) error {
	for i := range s.images {
		if s.images[i].ID != row.ID {
			s.images[i].Names = slices.DeleteFunc(s.images[i].Names, func(n string) bool { return n == row.Names[0] })
		}
	}
	s.changed = true
	if i := slices.IndexFunc(s.images, func(have podmanImage) bool { return have.ID == row.ID }); i >= 0 {
		if !slices.Contains(s.images[i].Names, row.Names[0]) {
			s.images[i].Names = append(s.images[i].Names, row.Names[0])
		}
		return nil
	}
	s.images = append(s.images, row)
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	manifest, err := img.RawManifest()
	if err != nil {
		return err
	}
	dir := podmanImages + "/" + row.ID
	if err := tx.PutFile(dir+"/manifest", 0o644, bytes.NewReader(manifest)); err != nil {
		return err
	}
	return tx.PutFile(dir+"/="+base64.StdEncoding.EncodeToString([]byte("sha256:"+row.ID)), 0o644, bytes.NewReader(config))
}

func addPodmanLayer(tx *publish.Tx, row podmanLayer, lower []string) error {
	digest, err := unpacked.ParseDigest(row.CompressedDigest)
	if err != nil {
		return err
	}
	dir := podmanOverlay + "/" + row.ID
	if err := tx.Symlink(dir+"/diff", unpacked.Link(dir+"/diff", unpacked.LayerRoot(digest))); err != nil {
		return err
	}
	if err := tx.PutFile(dir+"/link", 0o644, strings.NewReader(shortID(row.ID))); err != nil {
		return err
	}
	if len(lower) > 0 {
		if err := tx.PutFile(dir+"/lower", 0o644, strings.NewReader(strings.Join(lower, ":"))); err != nil {
			return err
		}
	}
	return addPodmanLink(tx, row.ID)
}

// addPodmanLink makes the short link by which upper layers name this one.
func addPodmanLink(tx *publish.Tx, id string) error {
	link, target := podmanLinks+"/"+shortID(id), "../"+id+"/diff"
	if have, err := tx.Lookup(link); err == nil && have.Entry.Symlink == target {
		return nil
	}
	return tx.Symlink(link, target)
}

// write puts the indexes in their place.
func (s *podmanStore) write(tx *publish.Tx) error {
	if !s.changed {
		return nil
	}
	s.changed = false
	if s.images == nil {
		s.images = []podmanImage{}
	}
	if s.layers == nil {
		s.layers = []podmanLayer{}
	}
	if err := placeCatalogs(tx, unpacked.PodmanStore, podmanOverlay, podmanImages, podmanLayers); err != nil {
		return err
	}
	for name, rows := range map[string]any{podmanImages + "/images": s.images, podmanLayers + "/layers": s.layers} {
		text, err := json.Marshal(rows)
		if err != nil {
			return err
		}
		if err := tx.PutFile(name+".json", 0o644, bytes.NewReader(text)); err != nil {
			return err
		}
		if err := tx.PutFile(name+".lock", 0o644, bytes.NewReader(nil)); err != nil {
			return err
		}
	}
	return nil
}

// chainID is OCI's: the digest of the chain below and the layer's uncompressed digest.
func chainID(parent, diff string) string {
	if parent == "" {
		return path.Base(strings.ReplaceAll(diff, ":", "/"))
	}
	return unpacked.Sum([]byte("sha256:" + parent + " " + diff)).Hex()
}

// shortID names a layer's link: overlayfs takes the lower directories in one page of mount options.
func shortID(id string) string {
	sum := sha256.Sum256([]byte(id))
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16])
}
