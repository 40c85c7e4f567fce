package convert

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/flatrun/flatrun/unpacked/layer"
)

// maxDocument bounds an index, manifest or configuration: bytes that are read into memory.
const maxDocument = 8 << 20

// archive is a tar of an OCI image layout, read in place: its blobs are ranges of the file.
type archive struct {
	file  *os.File
	blobs map[string]*io.SectionReader // "index.json", "blobs/sha256/…"
}

func openArchive(name string) (*archive, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	a := &archive{file: f, blobs: map[string]*io.SectionReader{}}
	position := &layer.Counter{R: f}
	t := tar.NewReader(position)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err != nil {
			f.Close()
			return nil, archiveError(err)
		}
		if h.Typeflag == tar.TypeReg {
			a.blobs[path.Clean(h.Name)] = io.NewSectionReader(f, position.N, h.Size)
		}
	}
}

// archiveError says what to do about a file that is no tar.
func archiveError(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: not a tar archive, or cut short; one that is compressed has to be decompressed first", err)
	}
	return err
}

func (a *archive) open(name string) (io.ReadCloser, error) {
	blob, ok := a.blobs[name]
	if !ok {
		return nil, fmt.Errorf("archive %s has no %s", a.file.Name(), name)
	}
	return io.NopCloser(io.NewSectionReader(blob, 0, blob.Size())), nil
}

// document reads a small blob whole.
func (a *archive) document(name string) ([]byte, error) {
	r, err := a.open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err == nil && len(b) > maxDocument {
		err = fmt.Errorf("archive %s: %s is larger than %d bytes", a.file.Name(), name, maxDocument)
	}
	return b, err
}

func blobName(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

func (a *archive) index() (v1.ImageIndex, error) {
	raw, err := a.document("index.json")
	if err != nil {
		return nil, err
	}
	return a.indexOf(raw)
}

func (a *archive) indexOf(raw []byte) (v1.ImageIndex, error) {
	m, err := v1.ParseIndexManifest(strings.NewReader(string(raw)))
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", a.file.Name(), err)
	}
	return &archiveIndex{a, raw, m}, nil
}

// archiveIndex is an index inside an archive.
type archiveIndex struct {
	a        *archive
	raw      []byte
	manifest *v1.IndexManifest
}

func (i *archiveIndex) MediaType() (types.MediaType, error)       { return i.manifest.MediaType, nil }
func (i *archiveIndex) Digest() (v1.Hash, error)                  { return partial.Digest(i) }
func (i *archiveIndex) Size() (int64, error)                      { return int64(len(i.raw)), nil }
func (i *archiveIndex) IndexManifest() (*v1.IndexManifest, error) { return i.manifest, nil }
func (i *archiveIndex) RawManifest() ([]byte, error)              { return i.raw, nil }

func (i *archiveIndex) Image(h v1.Hash) (v1.Image, error) {
	raw, err := i.a.document(blobName(h))
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(&archiveImage{i.a, raw})
}

func (i *archiveIndex) ImageIndex(h v1.Hash) (v1.ImageIndex, error) {
	raw, err := i.a.document(blobName(h))
	if err != nil {
		return nil, err
	}
	return i.a.indexOf(raw)
}

// archiveImage is the part of an image from which the library makes the rest.
type archiveImage struct {
	a   *archive
	raw []byte
}

func (i *archiveImage) RawManifest() ([]byte, error) { return i.raw, nil }

func (i *archiveImage) manifest() (*v1.Manifest, error) {
	return v1.ParseManifest(strings.NewReader(string(i.raw)))
}

func (i *archiveImage) MediaType() (types.MediaType, error) {
	m, err := i.manifest()
	if err != nil {
		return "", err
	}
	return m.MediaType, nil
}

func (i *archiveImage) RawConfigFile() ([]byte, error) {
	m, err := i.manifest()
	if err != nil {
		return nil, err
	}
	return i.a.document(blobName(m.Config.Digest))
}

func (i *archiveImage) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	m, err := i.manifest()
	if err != nil {
		return nil, err
	}
	for _, d := range append(m.Layers, m.Config) {
		if d.Digest == h {
			return &archiveLayer{i.a, d}, nil
		}
	}
	return nil, fmt.Errorf("archive %s: the manifest has no layer %s", i.a.file.Name(), h)
}

// archiveLayer is a blob of an archive.
type archiveLayer struct {
	a    *archive
	desc v1.Descriptor
}

func (l *archiveLayer) Digest() (v1.Hash, error)            { return l.desc.Digest, nil }
func (l *archiveLayer) Size() (int64, error)                { return l.desc.Size, nil }
func (l *archiveLayer) MediaType() (types.MediaType, error) { return l.desc.MediaType, nil }
func (l *archiveLayer) Compressed() (io.ReadCloser, error)  { return l.a.open(blobName(l.desc.Digest)) }
