package session

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/flatrun/flatrun/unpacked"
	"github.com/flatrun/flatrun/unpacked/near"
)

// maxConfig bounds an image configuration; the largest seen have some ten kilobytes.
const maxConfig = 4 << 20

// imageConfig is the OCI configuration of the flat image at p, nil if the repository has none or the image brings its own
// scripts, which count for more: then nothing is fetched for it.
func imageConfig(ctx context.Context, v view, p string) (json.RawMessage, error) {
	id, ok := unpacked.ImageOf(p)
	if !ok || p != unpacked.FlatRoot(id) || id.Algorithm() != "sha256" {
		return nil, nil
	}
	if _, _, err := v.stat(ctx, p+"/.singularity.d"); err == nil {
		return nil, nil
	}
	text, err := v.read(ctx, podmanConfig(id), maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	// The image's id is the digest of its configuration.
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != id.Hex() || !json.Valid(text) {
		return nil, nil
	}
	return text, nil
}

// podmanConfig is where an unpacked repository keeps the configuration, for podman: in a file named by its base64'd digest.
func podmanConfig(id unpacked.Digest) string {
	return path.Join(unpacked.PodmanStore, "overlay-images", id.Hex(), "="+base64.StdEncoding.EncodeToString([]byte(id.String())))
}

// maxNear is how many near matches a message has.
const maxNear = 3

// nearPath says what the missing path may have meant: its first missing element among its siblings, with the rest behind
// it where that exists.
func (r *repositories) nearPath(ctx context.Context, fqrn, p string) string {
	at, err := r.view(ctx, fqrn)
	if err != nil {
		return ""
	}
	dir, rest := "/", strings.TrimPrefix(p, "/")
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		found, err := r.follow(ctx, fqrn, path.Join(dir, name))
		if err == nil && found.where.FQRN == fqrn {
			dir = found.where.InRepo
			continue
		}
		names, err := at.view.names(ctx, dir)
		if err != nil {
			return ""
		}
		matches := near.Matches(name, names, maxNear)
		for i, m := range matches {
			if whole := path.Join(dir, m, rest); rest != "" {
				if _, err := r.follow(ctx, fqrn, whole); err == nil {
					m = path.Join(m, rest)
				}
			}
			matches[i] = path.Join("/cvmfs", fqrn, dir, m)
		}
		return didYouMean(matches)
	}
	return ""
}

func didYouMean(matches []string) string {
	if len(matches) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(matches, " or ") + "?"
}

// nearName says what image the name may have meant.
func (r *repositories) nearName(ctx context.Context, search []string, ref unpacked.Reference) string {
	walk := nameWalk{left: 4000}
	for _, fqrn := range search {
		if at, err := r.view(ctx, fqrn); err == nil {
			walk.visit(ctx, at.view, "/", 0)
		}
	}
	return didYouMean(near.Matches(ref.String(), walk.names, maxNear))
}

// nameWalk collects the names of images: links with a tag. A repository may hold anything besides, so it looks at so many
// entries and no more.
type nameWalk struct {
	left  int
	names []string
}

// maxDepth is how many components an image name may have to be found.
const maxDepth = 6

func (w *nameWalk) visit(ctx context.Context, v view, dir string, depth int) {
	entries, err := v.names(ctx, dir)
	if err != nil || depth == maxDepth {
		return
	}
	for _, name := range entries {
		p := path.Join(dir, name)
		if strings.HasPrefix(name, ".") || p == unpacked.PodmanStore { // neither is a registry
			continue
		}
		if w.left--; w.left < 0 {
			return
		}
		mode, _, err := v.stat(ctx, p)
		switch {
		case err == nil && mode == fs.ModeSymlink && strings.Contains(name, ":"):
			w.names = append(w.names, p[1:])
		case err == nil && mode == fs.ModeDir:
			w.visit(ctx, v, p, depth+1)
		}
	}
}
