package convert

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/flatrun/flatrun/unpacked"
)

// choose takes the images of the platforms asked for out of an index, in the order asked for.
func (s Source) choose(index v1.ImageIndex) ([]Image, error) {
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	return s.chooseOf(index, m.Manifests)
}

// chooseOf is choose among some of an index's manifests.
func (s Source) chooseOf(index v1.ImageIndex, manifests []v1.Descriptor) ([]Image, error) {
	var images []Image
	for _, wanted := range s.platforms() {
		p, err := v1.ParsePlatform(wanted)
		if err != nil {
			return nil, fmt.Errorf("platform %q: %w", wanted, err)
		}
		d, ok := find(manifests, *p)
		if !ok {
			return nil, fmt.Errorf("no image for platform %s; there are %s", wanted, available(manifests))
		}
		img, err := named(index, d.Digest)
		if err != nil {
			return nil, err
		}
		images = append(images, Image{Image: img, Platform: d.Platform.String()})
	}
	return images, nil
}

// named is the image that an index names. Its manifest and its configuration are of the digests that name them: for files
// the library leaves that to its callers.
func named(index v1.ImageIndex, want v1.Hash) (v1.Image, error) {
	img, err := index.Image(want)
	if err != nil {
		return nil, err
	}
	raw, err := img.RawManifest()
	if err != nil {
		return nil, err
	}
	if err := sameDigest("manifest", raw, want); err != nil {
		return nil, err
	}
	if err := boundConfig(img); err != nil {
		return nil, err
	}
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	if raw, err = img.RawConfigFile(); err != nil {
		return nil, err
	}
	return img, sameDigest("configuration", raw, m.Config.Digest)
}

// boundConfig refuses a configuration that would fill the memory. It comes before the library reads it.
func boundConfig(img v1.Image) error {
	m, err := img.Manifest()
	if err == nil && m.Config.Size > maxDocument {
		err = fmt.Errorf("its configuration has %d bytes, more than the %d that one may have", m.Config.Size, maxDocument)
	}
	return err
}

func sameDigest(what string, raw []byte, want v1.Hash) error {
	if got := unpacked.Sum(raw); string(got) != want.String() {
		return fmt.Errorf("%s %s: digest is %s: the source gave other bytes than the image names", what, want, got)
	}
	return nil
}

// Check refuses platforms and mirrors that cannot be meant.
func (s Source) Check() error {
	for registry, hosts := range s.Mirrors {
		for _, host := range append(slices.Clone(hosts), registry) {
			if r, err := unpacked.ParseReference("https://"+host+"/x/x", ""); err != nil || r.Registry != host {
				return fmt.Errorf("mirror %q: want REGISTRY=HOST, two names of hosts with or without a port", registry+"="+strings.Join(hosts, ","))
			}
		}
	}
	for _, text := range s.Platforms {
		if p, err := v1.ParsePlatform(text); err != nil || p.OS == "" || p.Architecture == "" {
			return fmt.Errorf("platform %q: want OS/ARCHITECTURE[/VARIANT], such as linux/arm64", text)
		}
	}
	return nil
}

func find(manifests []v1.Descriptor, p v1.Platform) (v1.Descriptor, bool) {
	for _, d := range manifests {
		if d.MediaType.IsImage() && d.Platform != nil && d.Platform.Satisfies(p) {
			return d, true
		}
	}
	return v1.Descriptor{}, false
}

func available(manifests []v1.Descriptor) string {
	var names []string
	for _, d := range manifests {
		if d.Platform != nil && d.Platform.OS != "unknown" {
			names = append(names, d.Platform.String())
		}
	}
	return strings.Join(names, " ")
}

func (s Source) platforms() []string {
	if len(s.Platforms) == 0 {
		return []string{"linux/" + runtime.GOARCH}
	}
	return s.Platforms
}

// ofPlatform takes a lone image: it is what the source has, whatever platform was asked for, unless several were.
func (s Source) ofPlatform(img v1.Image) ([]Image, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	p := config.Platform()
	if p == nil || p.OS == "" || p.Architecture == "" { // nil where the configuration says nothing of it
		return []Image{{Image: img, Platform: s.platforms()[0]}}, nil
	}
	for _, wanted := range s.Platforms {
		w, err := v1.ParsePlatform(wanted)
		if err != nil {
			return nil, fmt.Errorf("platform %q: %w", wanted, err)
		}
		if p.Satisfies(*w) {
			return []Image{{Image: img, Platform: p.String()}}, nil
		}
	}
	if len(s.Platforms) > 0 {
		return nil, fmt.Errorf("the image is for %s only, not for %s", p, strings.Join(s.Platforms, " or "))
	}
	return []Image{{Image: img, Platform: p.String()}}, nil
}

// PlatformName is a platform as a part of a link's name: "linux-arm64-v8".
func PlatformName(platform string) string {
	return strings.ReplaceAll(platform, "/", "-")
}
