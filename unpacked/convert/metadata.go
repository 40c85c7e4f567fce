package convert

import (
	"bytes"
	"encoding/json"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/flatrun/flatrun/unpacked"
)

// duccManifest is a manifest as DUCC files it: Go's field names are its keys.
type duccManifest struct {
	SchemaVersion int64
	MediaType     string
	Config        duccBlob
	Layers        []duccBlob
}

type duccBlob struct {
	MediaType string
	Size      int64
	Digest    string
}

// metadata files what the flat tree does not tell: the manifest as DUCC has it, the configuration, the thin image.
func (c *Converter) metadata(img Image, dir string) error {
	m, err := img.Manifest()
	if err != nil {
		return err
	}
	d := duccManifest{SchemaVersion: m.SchemaVersion, MediaType: string(m.MediaType), Config: blobOf(m.Config)}
	for _, l := range m.Layers {
		d.Layers = append(d.Layers, blobOf(l))
	}
	manifest, err := json.Marshal(d)
	if err != nil {
		return err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	thin, err := c.Thin(img)
	if err != nil {
		return err
	}
	text, err := thin.Encode()
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{"manifest.json": manifest, "config.json": config, unpacked.ThinFile: text} {
		if err := c.Tx.PutFile(path.Join(dir, name), 0o644, bytes.NewReader(text)); err != nil {
			return err
		}
	}
	return nil
}

func blobOf(d v1.Descriptor) duccBlob {
	return duccBlob{MediaType: string(d.MediaType), Size: d.Size, Digest: d.Digest.String()}
}
