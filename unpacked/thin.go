package unpacked

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// ThinFile is the only file in a thin image's only layer.
const ThinFile = "thin.json"

// ThinVersion is the version that DUCC, the graph driver and this package write.
const ThinVersion = "1.0"

// Thin is thin.json: an image that names its layers in a repository instead of
// containing them.
type Thin struct {
	Version    string      `json:"version"`
	MinVersion string      `json:"min_version,omitempty"`
	Origin     string      `json:"origin"`
	Layers     []ThinLayer `json:"layers"` // the base first
	Comment    string      `json:"comment,omitempty"`
}

// ThinLayer is one layer: the hex digest of its compressed blob and where its
// unpacked tree is, as cvmfs://FQRN/path.
type ThinLayer struct {
	Digest string `json:"digest"`
	URL    string `json:"url"`
}

// NewThin describes the image whose layers, the base first, stand in repository
// fqrn; origin is the image's name at its registry.
func NewThin(origin, fqrn string, layers []Digest) *Thin {
	t := &Thin{Version: ThinVersion, Origin: origin, Layers: []ThinLayer{}}
	for _, d := range layers {
		t.Layers = append(t.Layers, ThinLayer{Digest: d.Hex(), URL: "cvmfs://" + fqrn + LayerRoot(d)})
	}
	return t
}

// AddStack puts the tree of StackRoot over the layers. Its digest is the image's
// id: there is no blob of it.
func (t *Thin) AddStack(fqrn string, image Digest) {
	t.Layers = append(t.Layers, ThinLayer{Digest: image.Hex(), URL: "cvmfs://" + fqrn + StackRoot(image)})
}

// ParseThin reads and checks thin.json. Unknown keys are passed over, as later
// minor versions may add some.
func ParseThin(data []byte) (*Thin, error) {
	var t Thin
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&t); err != nil {
		return nil, fmt.Errorf("%s: %w", ThinFile, err)
	}
	if d.More() {
		return nil, fmt.Errorf("%s: more than one JSON value", ThinFile)
	}
	if err := t.Validate(); err != nil {
		return nil, err
	}
	return &t, nil
}

// Validate tells why a thin image could not be run.
func (t *Thin) Validate() error {
	for _, v := range []string{t.Version, t.MinVersion} {
		if major, _, _ := strings.Cut(v, "."); v != "" && major != "1" {
			return fmt.Errorf("%s: version %q is not known; this program reads version 1", ThinFile, v)
		}
	}
	if t.Version == "" {
		return fmt.Errorf("%s: no version; is this a thin image?", ThinFile)
	}
	if len(t.Layers) == 0 {
		return fmt.Errorf("%s: no layers", ThinFile)
	}
	for i, l := range t.Layers {
		if _, err := l.ParseDigest(); err != nil {
			return fmt.Errorf("%s: layer %d: %w", ThinFile, i, err)
		}
		if _, _, err := l.Location(); err != nil {
			return fmt.Errorf("%s: layer %d: %w", ThinFile, i, err)
		}
	}
	return nil
}

// Stack are the layers as the kernel takes them, the base first: one that comes
// again, as the empty one does in many images, stands where it comes last, for no
// directory may be given twice, and the same layer further up covers all that it
// has.
func (t *Thin) Stack() []ThinLayer {
	var stack []ThinLayer
	for i, l := range t.Layers {
		if !slices.ContainsFunc(t.Layers[i+1:], func(above ThinLayer) bool { return above.URL == l.URL }) {
			stack = append(stack, l)
		}
	}
	return stack
}

// ParseDigest is the layer's digest, which is written with and without its
// algorithm in the wild.
func (l ThinLayer) ParseDigest() (Digest, error) {
	if strings.Contains(l.Digest, ":") {
		return ParseDigest(l.Digest)
	}
	return ParseDigest("sha256:" + l.Digest)
}

// Location splits the layer's URL into the repository's name and the absolute
// path in it. A path that climbs is refused: the layer would be another's.
func (l ThinLayer) Location() (fqrn, dir string, err error) {
	rest, ok := strings.CutPrefix(l.URL, "cvmfs://")
	if !ok {
		return "", "", fmt.Errorf("url %q: want cvmfs://FQRN/path", l.URL)
	}
	fqrn, dir, _ = strings.Cut(rest, "/")
	if err := CheckFQRN(fqrn); err != nil {
		return "", "", fmt.Errorf("url %q: %w", l.URL, err)
	}
	dir = "/" + dir
	if dir == "/" || path.Clean(dir) != strings.TrimSuffix(dir, "/") || strings.ContainsAny(dir, "\x00") {
		return "", "", fmt.Errorf("url %q: not a clean path inside the repository", l.URL)
	}
	return fqrn, path.Clean(dir), nil
}

// Encode is the text of the file.
func (t *Thin) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ThinFile, err)
	}
	return append(b, '\n'), nil
}

// CheckFQRN refuses what cannot be the fully qualified name of a repository:
// the name becomes a directory and part of URLs and file names.
func CheckFQRN(s string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	switch {
	case s == "":
		return errors.New("the repository's name is empty")
	case len(s) > 253 || strings.Trim(s, letters) != "":
		return fmt.Errorf("repository %q: a name has letters, digits, dots, dashes and underscores", s)
	case !strings.Contains(s, ".") || s[0] == '.' || s[0] == '-' || strings.Contains(s, "..") || s[len(s)-1] == '.':
		return fmt.Errorf("repository %q: not a fully qualified name such as unpacked.cern.ch", s)
	}
	return nil
}
