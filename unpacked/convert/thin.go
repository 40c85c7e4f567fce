package convert

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/flatrun/flatrun/unpacked"
)

// Thin describes an image that was converted: its layers in the repository, and what lies over them.
func (c *Converter) Thin(img Image) (*unpacked.Thin, error) {
	id, _, err := identity(img)
	if err != nil {
		return nil, err
	}
	digests, err := layerDigests(img)
	if err != nil {
		return nil, err
	}
	t := unpacked.NewThin(img.Name.String(), c.FQRN, digests)
	stacked, err := c.stacked(id)
	if stacked {
		t.AddStack(c.FQRN, id)
	}
	return t, err
}

// ThinImage is the image that stands for img in a registry: one layer with thin.json, and img's configuration with
// CVMFS_IMAGE set, by which the graph driver knows it.
func ThinImage(img Image, description *unpacked.Thin) (v1.Image, error) {
	text, err := description.Encode()
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return oneFile(unpacked.ThinFile, text) })
	if err != nil {
		return nil, err
	}
	thin, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	own, err := thin.ConfigFile()
	if err != nil {
		return nil, err
	}
	own = own.DeepCopy()
	own.Architecture, own.OS, own.Variant, own.Created = config.Architecture, config.OS, config.Variant, config.Created
	own.Config = *config.Config.DeepCopy()
	own.Config.Env = append(own.Config.Env, "CVMFS_IMAGE=true")
	return mutate.ConfigFile(thin, own)
}

// MakeThin is ThinImage of one that c has converted.
func (c *Converter) MakeThin(img Image) (v1.Image, error) {
	description, err := c.Thin(img)
	if err != nil {
		return nil, fmt.Errorf("thin image of %s: %w", img.Name, err)
	}
	thin, err := ThinImage(img, description)
	if err != nil {
		return nil, fmt.Errorf("thin image of %s: %w", img.Name, err)
	}
	return thin, nil
}

// CheckThin refuses a name for a thin image by which it would take the place of the image that it is made of.
func CheckThin(of, to unpacked.Reference) error {
	same := of.Registry == to.Registry || unpacked.IsDockerHub(of.Registry) && unpacked.IsDockerHub(to.Registry)
	if same && of.Repository == to.Repository && of.Tag == to.Tag {
		return fmt.Errorf("thin image %s: it would take the place of the image itself: it wants another name", to)
	}
	return nil
}

// Push pushes a thin image under the name to.
func (s Source) Push(ctx context.Context, thin v1.Image, to unpacked.Reference) error {
	ref, err := s.reference(to.Registry, to)
	if err != nil {
		return fmt.Errorf("thin image %s: %w", to, err)
	}
	if err := remote.Write(ref, thin, s.options(ctx)...); err != nil {
		return fmt.Errorf("push thin image %s: %w", to, explain(ref, err))
	}
	return nil
}

// oneFile is a tar with one file of root's and no date, so that the same text has the same digest each time.
func oneFile(name string, text []byte) (io.ReadCloser, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return io.NopCloser(&b), nil
}

// layerDigests are the digests of the compressed layers, the base first.
func layerDigests(img v1.Image) ([]unpacked.Digest, error) {
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	var digests []unpacked.Digest
	for _, l := range m.Layers {
		d, err := unpacked.ParseDigest(l.Digest.String())
		if err != nil {
			return nil, err
		}
		digests = append(digests, d)
	}
	return digests, nil
}
