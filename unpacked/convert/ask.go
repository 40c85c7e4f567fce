package convert

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/flatrun/flatrun/unpacked"
)

// mirrors are the hosts to ask before a registry. Those of Docker Hub are so under each of its names: a short name's
// registry is not the one that people write.
func (s Source) mirrors(registry string) (hosts []string) {
	for _, of := range slices.Sorted(maps.Keys(s.Mirrors)) {
		if of == registry || unpacked.IsDockerHub(of) && unpacked.IsDockerHub(registry) {
			hosts = append(hosts, s.Mirrors[of]...)
		}
	}
	return hosts
}

// ask asks a registry's mirrors and then itself; the error tells what each of them said.
func ask[T any](ctx context.Context, s Source, registry string, question func(host string) (T, error)) (answer T, err error) {
	var errs []error
	for _, host := range append(s.mirrors(registry), registry) {
		if answer, err = question(host); err == nil {
			return answer, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return answer, errors.Join(errs...)
}

// Head asks a registry for the digest of what a name stands for now, an image or an index.
func (s Source) Head(ctx context.Context, ref unpacked.Reference) (unpacked.Digest, error) {
	return ask(ctx, s, ref.Registry, func(host string) (unpacked.Digest, error) {
		r, err := s.reference(host, ref)
		if err != nil {
			return "", err
		}
		digest, err := s.digest(ctx, r)
		if err != nil {
			return "", fmt.Errorf("image %s: %w", r, explain(r, err))
		}
		return unpacked.ParseDigest(digest.String())
	})
}

// digest asks by HEAD, which costs least and is not counted by Docker Hub, and by GET where a registry does not know that.
func (s Source) digest(ctx context.Context, r name.Reference) (v1.Hash, error) {
	head, err := remote.Head(r, s.options(ctx)...)
	if err == nil {
		return head.Digest, nil
	}
	var refused *transport.Error
	if errors.As(err, &refused) {
		switch refused.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests:
			return v1.Hash{}, err
		}
	}
	whole, getErr := remote.Get(r, s.options(ctx)...)
	if getErr != nil {
		return v1.Hash{}, err
	}
	return whole.Digest, nil
}

// Tags lists the tags of ref's repository.
func (s Source) Tags(ctx context.Context, ref unpacked.Reference) ([]string, error) {
	ref.Tag, ref.Digest = "latest", "" // a wish's tag may be a pattern, which the library refuses
	return ask(ctx, s, ref.Registry, func(host string) ([]string, error) {
		r, err := s.reference(host, ref)
		if err != nil {
			return nil, err
		}
		tags, err := s.tags(ctx, r.Context())
		if err != nil {
			return nil, fmt.Errorf("tags of %s: %w", r.Context(), explain(r, err))
		}
		return tags, nil
	})
}

// tags reads all pages of a list. A registry that goes in circles ends it: the library would follow for ever.
func (s Source) tags(ctx context.Context, of name.Repository) (tags []string, err error) {
	puller, err := remote.NewPuller(s.options(ctx)...)
	if err != nil {
		return nil, err
	}
	list, err := puller.Lister(ctx, of)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for list.HasNext() {
		page, err := list.Next(ctx)
		if err != nil {
			return nil, err
		}
		if seen[page.Next] {
			return nil, fmt.Errorf("the list has no end: it comes to %s again", page.Next)
		}
		seen[page.Next] = page.Next != ""
		tags = append(tags, page.Tags...)
	}
	return tags, nil
}
