package prefetch

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/flatrun/flatrun/mount/cas"
)

// Profile is a start-up profile: the objects that a start of an image reads, in the order of their first use. It names
// objects only, no files and nobody's data.
type Profile struct {
	Image   cas.Hash // see Identify; zero if it is not known
	Objects []cas.Object
}

const (
	profileHead = "flatrun profile 1\n"
	imageHead   = "image " // of a second line

	// MaxObjects bounds a profile, MaxProfile its text.
	MaxObjects = 16384
	MaxProfile = 2 << 20
)

// Marshal writes a profile as text: a head line, a line with the image where it is known, then a line for each object with its hash, its kind (the suffix letter, or
// "-" for a whole file), its compression and its uncompressed bytes.
func (p *Profile) Marshal() []byte {
	var b bytes.Buffer
	b.WriteString(profileHead)
	if !p.Image.IsZero() {
		fmt.Fprintf(&b, "%s%s\n", imageHead, p.Image)
	}
	for _, o := range p.Objects {
		kind := o.Suffix.String()
		if kind == "" {
			kind = "-"
		}
		fmt.Fprintf(&b, "%s %s %s %d\n", o.Hash, kind, o.Compression, o.Size)
	}
	return b.Bytes()
}

// ParseProfile reads what Marshal wrote. A profile is advice: every object is verified by its hash when it is fetched.
func ParseProfile(text []byte) (*Profile, error) {
	if len(text) > MaxProfile {
		return nil, fmt.Errorf("profile: %d bytes are more than %d", len(text), MaxProfile)
	}
	rest, ok := strings.CutPrefix(string(text), profileHead)
	if !ok {
		return nil, errors.New("profile: it does not begin with \"" + strings.TrimSpace(profileHead) + "\"")
	}
	p := &Profile{}
	if line, after, _ := strings.Cut(rest, "\n"); strings.HasPrefix(line, imageHead) {
		var err error
		if p.Image, err = cas.ParseHash(strings.TrimPrefix(line, imageHead)); err != nil {
			return nil, fmt.Errorf("profile: line 2: %w", err)
		}
		rest = after
	}
	for line := range strings.Lines(rest) {
		o, err := parseLine(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("profile: line %d: %w", len(p.Objects)+2, err)
		}
		if p.Objects = append(p.Objects, o); len(p.Objects) > MaxObjects {
			return nil, fmt.Errorf("profile: more than %d objects", MaxObjects)
		}
	}
	return p, nil
}

func parseLine(line string) (o cas.Object, err error) {
	f := strings.Split(line, " ")
	if len(f) != 4 {
		return o, fmt.Errorf("%q has not four fields", line)
	}
	if o.Hash, err = cas.ParseHash(f[0]); err != nil {
		return o, err
	}
	switch f[1] {
	case "-":
	case cas.PartialSuffix.String(), cas.CatalogSuffix.String():
		o.Suffix = cas.Suffix(f[1][0])
		o.Pinned = o.Suffix == cas.CatalogSuffix
	default:
		return o, fmt.Errorf("%q is no kind of object", f[1])
	}
	switch f[2] {
	case cas.Zlib.String():
		o.Compression = cas.Zlib
	case cas.None.String():
		o.Compression = cas.None
	default:
		return o, fmt.Errorf("%q is no compression", f[2])
	}
	if o.Size, err = strconv.ParseInt(f[3], 10, 64); err != nil || o.Size < -1 {
		return o, fmt.Errorf("%q is no size", f[3])
	}
	return o, nil
}

// Merge adds the objects of a later start that p lacks, at its end.
func (p *Profile) Merge(later *Profile) {
	known := make(map[key]bool, len(p.Objects))
	for _, o := range p.Objects {
		known[key{o.Hash, o.Compression}] = true
	}
	for _, o := range later.Objects {
		if k := (key{o.Hash, o.Compression}); !known[k] && len(p.Objects) < MaxObjects {
			known[k] = true
			p.Objects = append(p.Objects, o)
		}
	}
}

// Profiles is a directory of profiles, one an image.
type Profiles string

func (d Profiles) path(image cas.Hash) string { return filepath.Join(string(d), image.String()) }

// Has tells whether there is a profile of the image.
func (d Profiles) Has(image cas.Hash) bool {
	_, err := os.Stat(d.path(image))
	return err == nil
}

// Load reads the profile of an image; fs.ErrNotExist where there is none.
func (d Profiles) Load(image cas.Hash) (*Profile, error) {
	f, err := os.Open(d.path(image))
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || st.Size() > MaxProfile {
		return nil, fmt.Errorf("profile %s: larger than %d bytes, or %w", f.Name(), MaxProfile, err)
	}
	text, err := os.ReadFile(f.Name())
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	return ParseProfile(text)
}

// Save replaces the profile of an image.
func (d Profiles) Save(image cas.Hash, p *Profile) (err error) {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	f, err := os.CreateTemp(string(d), ".new-*")
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	_, err = f.Write(p.Marshal())
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), d.path(image))
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("profile: %w", err)
	}
	return nil
}

// List tells of which images there are profiles.
func (d Profiles) List() (images []cas.Hash, err error) {
	entries, err := os.ReadDir(string(d))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("profiles: %w", err)
	}
	for _, e := range entries {
		if h, err := cas.ParseHash(e.Name()); err == nil {
			images = append(images, h)
		}
	}
	return images, nil
}

// Remove removes the profile of an image, if there is one.
func (d Profiles) Remove(image cas.Hash) error {
	if err := os.Remove(d.path(image)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("profile: %w", err)
	}
	return nil
}
