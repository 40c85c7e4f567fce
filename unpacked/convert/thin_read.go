package convert

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/flatrun/flatrun/unpacked"
	"github.com/flatrun/flatrun/unpacked/layer"
)

// maxThinLayer bounds the compressed layer of a thin image: no image with real content is downloaded to find out.
const maxThinLayer = 1 << 20

// ReadThin takes the description of a thin image out of its layer.
func ReadThin(img v1.Image) (*unpacked.Thin, error) {
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	if len(layers) != 1 {
		return nil, fmt.Errorf("no thin image: it has %d layers", len(layers))
	}
	size, err := layers[0].Size()
	if err != nil {
		return nil, err
	}
	if size > maxThinLayer {
		return nil, fmt.Errorf("no thin image: its layer has %d bytes", size)
	}
	text, err := thinText(layers[0])
	if err != nil {
		return nil, err
	}
	return unpacked.ParseThin(text)
}

// thinText reads the layer to its end, as only then its digest is known to be right.
func thinText(l v1.Layer) (text []byte, err error) {
	blob, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	plain, err := layer.Decompress(blob, 0)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	bounded := io.LimitReader(plain, maxDocument)
	in := tar.NewReader(bounded)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("no thin image: %w", err)
		}
		if path.Clean("/"+h.Name) != "/"+unpacked.ThinFile || h.Typeflag != tar.TypeReg {
			continue
		}
		if text, err = io.ReadAll(in); err != nil {
			return nil, err
		}
	}
	if text == nil {
		return nil, fmt.Errorf("no thin image: its layer has no %s", unpacked.ThinFile)
	}
	for _, r := range []io.Reader{bounded, blob} {
		if _, err := io.Copy(io.Discard, r); err != nil {
			return nil, err
		}
	}
	return text, nil
}
