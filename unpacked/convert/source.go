package convert

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/flatrun/flatrun/unpacked"
)

// Source says where images are taken from.
type Source struct {
	Platforms       []string            // "linux/amd64", "linux/arm64/v8"; empty: this machine's
	PlainHTTP       bool                // registries are spoken to without TLS
	Mirrors         map[string][]string // registry → hosts that are asked before it
	DefaultRegistry string              // of short names; "" is Docker Hub
	Transport       http.RoundTripper   // nil: the default one
	Keychain        authn.Keychain      // nil: Docker's and podman's credential files
}

// Image is a source's image of one platform.
type Image struct {
	v1.Image
	Name     unpacked.Reference // where its links go
	Platform string             // "linux/amd64"
	Index    unpacked.Digest    // of the index it was taken from; "" if there was none

	verified bool // a blob whose size or digest is not the image's ends in an error, not in io.EOF
}

// Open finds the images that ref names, one for each platform asked for. The forms of ref are
//
//	docker://REGISTRY/NAME:TAG, http://…, https://…, or a bare name: a registry
//	oci:DIR[:TAG]             an OCI image layout
//	oci-archive:FILE[:TAG]    a tar of such a layout
//	docker-archive:FILE[:REF] what docker save writes
//
// The last three carry no full name; as gives it.
func (s Source) Open(ctx context.Context, ref, as string) ([]Image, error) {
	if !IsLocal(ref) {
		return s.openRegistry(ctx, ref, as)
	}
	kind, rest, _ := strings.Cut(ref, ":")
	images, err := s.openLocal(kind, rest)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	if as == "" {
		return nil, fmt.Errorf("image %s: an archive or layout has no registry in its name; say what it is to be called with --name REGISTRY/NAME:TAG", ref)
	}
	named, err := unpacked.ParseReference(as, s.DefaultRegistry)
	if err != nil {
		return nil, err
	}
	for i := range images {
		images[i].Name = named
	}
	return images, nil
}

// IsLocal tells the forms of Open that name a file or directory.
func IsLocal(ref string) bool {
	kind, rest, ok := strings.Cut(ref, ":")
	return ok && !strings.HasPrefix(rest, "//") && (kind == "oci" || kind == "oci-archive" || kind == "docker-archive")
}

func (s Source) openLocal(kind, rest string) ([]Image, error) {
	file, tag := splitTag(rest)
	switch kind {
	case "oci":
		dir, err := layout.FromPath(file)
		if err != nil {
			return nil, err
		}
		index, err := dir.ImageIndex()
		if err != nil {
			return nil, err
		}
		return s.tagged(index, tag)
	case "oci-archive":
		archive, err := openArchive(file)
		if err != nil {
			return nil, err
		}
		index, err := archive.index()
		if err != nil {
			archive.file.Close()
			return nil, err
		}
		return s.tagged(index, tag)
	}
	var wanted *name.Tag
	if tag != "" {
		t, err := name.NewTag(tag)
		if err != nil {
			return nil, err
		}
		wanted = &t
	}
	img, err := tarball.ImageFromPath(file, wanted)
	if err != nil {
		return nil, archiveError(err)
	}
	return s.ofPlatform(img)
}

// splitTag cuts FILE[:TAG]; a colon inside a directory's name is part of FILE.
func splitTag(s string) (file, tag string) {
	file, tag, ok := strings.Cut(s, ":")
	if !ok || strings.HasPrefix(tag, "/") {
		return s, ""
	}
	return file, tag
}

func (s Source) openRegistry(ctx context.Context, ref, as string) ([]Image, error) {
	parsed, err := unpacked.ParseReference(ref, s.DefaultRegistry)
	if err != nil {
		return nil, err
	}
	named := parsed
	if as != "" {
		if named, err = unpacked.ParseReference(as, s.DefaultRegistry); err != nil {
			return nil, err
		}
	}
	images, err := ask(ctx, s, parsed.Registry, func(host string) ([]Image, error) { return s.openHost(ctx, host, parsed) })
	for i := range images {
		images[i].Name = named
		images[i].verified = true // by the registry's client, as it reads
	}
	return images, err
}

// openHost asks one registry or mirror.
func (s Source) openHost(ctx context.Context, host string, ref unpacked.Reference) ([]Image, error) {
	r, err := s.reference(host, ref)
	if err != nil {
		return nil, err
	}
	desc, err := remote.Get(r, s.options(ctx)...)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", r, explain(r, err))
	}
	if desc.MediaType.IsIndex() {
		index, err := desc.ImageIndex()
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", r, err)
		}
		images, err := s.choose(index)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", r, err)
		}
		for i := range images {
			images[i].Index = unpacked.Digest(desc.Digest.String())
		}
		return images, nil
	}
	img, err := desc.Image()
	if err == nil {
		err = boundConfig(img)
	}
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", r, err)
	}
	images, err := s.ofPlatform(img)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", r, explain(r, err))
	}
	return images, nil
}

// explain says what can be done about what a registry refuses.
func explain(r name.Reference, err error) error {
	var refused *transport.Error
	if !errors.As(err, &refused) {
		return err
	}
	switch refused.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: docker login %s, or podman login, if it is there", err, r.Context().RegistryStr())
	case http.StatusNotFound:
		if len(refused.Errors) == 0 { // as to HEAD, where the library's words are about HTTP
			return fmt.Errorf("%s knows no such image or tag", r.Context().RegistryStr())
		}
	}
	return err
}

// reference is ref on host in the library's own form.
func (s Source) reference(host string, ref unpacked.Reference) (name.Reference, error) {
	var options []name.Option
	if s.PlainHTTP || ref.Scheme == "http" {
		options = append(options, name.Insecure)
	}
	if unpacked.IsDockerHub(host) {
		host = name.DefaultRegistry
	}
	text := host + "/" + ref.Repository
	if ref.Digest != "" {
		text += "@" + string(ref.Digest)
	} else {
		text += ":" + ref.Tag
	}
	return name.ParseReference(text, options...)
}

func (s Source) options(ctx context.Context) []remote.Option {
	keychain := s.Keychain
	if keychain == nil {
		keychain = authn.DefaultKeychain
	}
	way := s.Transport
	if way == nil {
		way = registries()
	}
	return []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(keychain), remote.WithUserAgent("flathub"), remote.WithTransport(way)}
}

// refName is the annotation by which a layout's index names its images.
const refName = "org.opencontainers.image.ref.name"

// tagged picks the image or index that a layout's index names tag; the only one where no tag is given.
func (s Source) tagged(index v1.ImageIndex, tag string) ([]Image, error) {
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var found []v1.Descriptor
	var names []string
	for _, d := range m.Manifests {
		n := d.Annotations[refName]
		names = append(names, n)
		if tag == "" || n == tag {
			found = append(found, d)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no image %q in the layout, which has: %s", tag, strings.Join(names, " "))
	}
	if len(found) > 1 && areOne(found) {
		return s.chooseOf(index, found)
	}
	if len(found) > 1 {
		return nil, fmt.Errorf("the layout has %d such images: say which with :TAG; it has: %s", len(found), strings.Join(names, " "))
	}
	if found[0].MediaType.IsIndex() {
		child, err := index.ImageIndex(found[0].Digest)
		if err != nil {
			return nil, err
		}
		raw, err := child.RawManifest()
		if err != nil {
			return nil, err
		}
		if err := sameDigest("index", raw, found[0].Digest); err != nil {
			return nil, err
		}
		return s.choose(child)
	}
	img, err := named(index, found[0].Digest)
	if err != nil {
		return nil, err
	}
	return s.ofPlatform(img)
}

// areOne tells whether manifests are one image for several platforms, as a layout has them without an index of their own.
func areOne(manifests []v1.Descriptor) bool {
	seen := map[string]bool{}
	for _, d := range manifests {
		if d.Platform == nil || d.Annotations[refName] != manifests[0].Annotations[refName] {
			return false
		}
		seen[d.Platform.String()] = true
	}
	return len(seen) == len(manifests)
}
