package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/flatrun/flatrun/mount/config"
	"github.com/flatrun/flatrun/unpacked"
)

// Image is one name in a repository that leads to an image.
type Image struct {
	Name       string    `json:"name"` // registry/project/name, without tag
	Tag        string    `json:"tag,omitempty"`
	Digest     string    `json:"digest,omitempty"` // of a name with a digest in place of the tag
	Repository string    `json:"repository"`
	Path       string    `json:"path"`         // below /cvmfs
	ID         string    `json:"id,omitempty"` // digest of the configuration, where the layout tells it
	Published  time.Time `json:"published"`    // when the name was made to lead there
	Revision   uint64    `json:"revision"`     // of the repository, as listed
	Platform   string    `json:"platform,omitempty"`
	Size       int64     `json:"size,omitempty"` // bytes of all files; only with Long
	Files      int64     `json:"files,omitempty"`
}

// Reference is the name in full, as flatrun exec takes it.
func (i *Image) Reference() string {
	s := i.Name
	if i.Tag != "" {
		s += ":" + i.Tag
	}
	// The rest of a link's name is a digest, or one of several platforms.
	if _, rest, ok := strings.Cut(path.Base(i.Path), "@"); ok {
		s += "@" + rest
	}
	return s
}

// ImageQuery says which images are asked for. The zero value asks for all.
type ImageQuery struct {
	Patterns     []string // any of them; see compilePattern
	Terms        []string // all of them occur in the name, in upper or lower case
	Repositories []string // none = those that image names are looked up in
	Long         bool     // platform and size too, which are looked up for each image
}

// Images lists what the configured repositories hold, sorted by name. It fetches the catalogs of the directories that
// names are in, not those of the images. Repositories that fail are in the error; the others are listed nevertheless.
func Images(ctx context.Context, settings *config.Config, q ImageQuery, log *slog.Logger) ([]Image, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	match, err := q.matcher()
	if err != nil {
		return nil, err
	}
	search := q.Repositories
	if len(search) == 0 {
		search = (&repositories{settings: settings}).searched()
	}
	if len(search) == 0 {
		return nil, errors.New("no repository is configured to hold images (images: search:)")
	}
	c, err := openCaches(settings, log)
	if err != nil {
		return nil, err
	}
	found, failed := make([][]Image, len(search)), make([]error, len(search))
	var all sync.WaitGroup
	for i, fqrn := range search {
		all.Go(func() { found[i], failed[i] = imagesOf(ctx, settings, c, fqrn, q.Long, match, log) })
	}
	all.Wait()
	list := slices.Concat(found...)
	slices.SortStableFunc(list, func(a, b Image) int { return cmp.Compare(a.Reference(), b.Reference()) })
	return list, errors.Join(failed...)
}

// imagesOf lists one repository.
func imagesOf(ctx context.Context, settings *config.Config, c caches, fqrn string, long bool, match func(*Image) bool, log *slog.Logger) ([]Image, error) {
	tree, revision, done, err := openTree(ctx, settings, c, fqrn, log)
	if err != nil {
		return nil, err
	}
	defer done()
	w := imageWalk{tree: tree, fqrn: fqrn, revision: revision, match: match, left: maxWalk}
	if err := w.visit(ctx, "/", 0); err != nil {
		return nil, fmt.Errorf("repository %s: %w", fqrn, err)
	}
	list := withoutCopies(w.images)
	if long {
		describeAll(ctx, tree, list)
	}
	return list, nil
}

// openTree opens a repository for looking at its catalogs, without serving it. Where the site has it mounted, that is used.
func openTree(ctx context.Context, settings *config.Config, c caches, fqrn string, log *slog.Logger) (imageTree, uint64, func(), error) {
	s, err := settings.Repository(fqrn)
	if (err != nil || s.Tag == "" && s.Native) && hostMounted(fqrn) {
		dir := path.Join("/cvmfs", fqrn)
		revision, _ := strconv.ParseUint(attribute(dir, "user.revision"), 10, 64)
		return hostView{dir}, revision, func() {}, nil
	}
	if err != nil {
		return nil, 0, nil, err
	}
	v, err := openServed(ctx, s, c, nil, log)
	if err != nil {
		return nil, 0, nil, err
	}
	head := v.repo.Head()
	return catalogView{head}, head.Manifest().Revision, v.close, nil
}

// Bounds of the walk: a repository may hold anything besides images.
const (
	maxWalk = 500_000 // entries
	maxName = 8       // components of a name
)

// imageWalk collects the images whose names match.
type imageWalk struct {
	tree     imageTree
	fqrn     string
	revision uint64
	match    func(*Image) bool
	left     int
	images   []Image
}

func (w *imageWalk) visit(ctx context.Context, dir string, depth int) error {
	entries, err := w.tree.entries(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil // in a mount of the site's, changed meanwhile or not for us
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		p := path.Join(dir, e.name)
		if strings.HasPrefix(e.name, ".") || p == unpacked.PodmanStore { // neither is a registry
			continue
		}
		if w.left--; w.left < 0 {
			return ctx.Err()
		}
		switch {
		case e.mode == fs.ModeSymlink && depth > 0:
			if image, ok := w.image(p, e); ok && w.match(&image) {
				w.images = append(w.images, image)
			}
		case e.mode == fs.ModeDir && depth < maxName:
			if err := w.visit(ctx, p, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// image takes a link for an image if it has a tag, a digest, or leads to where images are.
func (w *imageWalk) image(p string, e treeEntry) (Image, bool) {
	image := Image{Repository: w.fqrn, Revision: w.revision, Path: path.Join("/cvmfs", w.fqrn, p), Published: e.time}
	id, known := unpacked.ImageOf(e.link)
	if known {
		image.ID = id.String()
	}
	base := path.Base(p)
	name, after, _ := strings.Cut(base, "@")
	if algorithm, _, ok := strings.Cut(after, ":"); ok && algorithm != "" {
		image.Digest = after
	} else if after != "" { // the image for a platform other than the default one
		image.Platform = strings.ReplaceAll(after, "-", "/")
	}
	var tagged bool
	name, image.Tag, tagged = strings.Cut(name, ":")
	image.Name = path.Join(path.Dir(p), name)[1:]
	return image, tagged || image.Digest != "" || known
}

// withoutCopies drops names with a digest of images that have the same name with a tag.
func withoutCopies(list []Image) []Image {
	tagged := map[[2]string]bool{}
	for _, i := range list {
		if i.Tag != "" && i.ID != "" {
			tagged[[2]string{i.Name, i.ID}] = true
		}
	}
	return slices.DeleteFunc(list, func(i Image) bool { return i.Digest != "" && tagged[[2]string{i.Name, i.ID}] })
}
