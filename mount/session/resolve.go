package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/unpacked"
)

// maxLinks is how many symbolic links a path may lead through, as in the kernel.
const maxLinks = 40

// resolve finds the directory of an image and what is known about running it; if it finds none, once more after a look for
// new revisions.
func (r *repositories) resolve(ctx context.Context, image string) (enter.Resolved, error) {
	found, err := r.resolveNow(ctx, image)
	if err == nil || !r.renew(ctx) {
		return found, err
	}
	leaseOf(ctx).drop()
	return r.resolveNow(ctx, image)
}

func (r *repositories) resolveNow(ctx context.Context, image string) (enter.Resolved, error) {
	if fqrn, p, ok := splitPath(image); ok {
		return r.resolvePath(ctx, image, fqrn, p)
	}
	if r.isThin(image) {
		return r.resolveThin(ctx, image)
	}
	found, err := r.resolveName(ctx, image)
	if err != nil && strings.HasPrefix(image, "docker://") {
		return r.fromRegistry(ctx, image, err)
	}
	return found, err
}

// splitPath takes a path below /cvmfs or a cvmfs:// name apart.
func splitPath(image string) (fqrn, p string, ok bool) {
	rest, ok := strings.CutPrefix(image, "cvmfs://")
	if !ok {
		if rest, ok = strings.CutPrefix(path.Clean(image), "/cvmfs/"); !ok {
			return "", "", false
		}
	}
	fqrn, p, _ = strings.Cut(strings.TrimLeft(rest, "/"), "/")
	return fqrn, path.Clean("/" + p), true
}

func (r *repositories) resolvePath(ctx context.Context, image, fqrn, p string) (enter.Resolved, error) {
	if err := unpacked.CheckFQRN(fqrn); err != nil {
		return enter.Resolved{}, fmt.Errorf("image %s: %w", image, err)
	}
	found, err := r.follow(ctx, fqrn, p)
	if errors.Is(err, fs.ErrNotExist) {
		return enter.Resolved{}, fmt.Errorf("image %s: repository %s has no %s%s", image, fqrn, p, r.nearPath(ctx, fqrn, p))
	}
	if err != nil {
		return enter.Resolved{}, fmt.Errorf("image %s: %w", image, err)
	}
	return r.finish(ctx, image, found)
}

// imagePlace is where an image lies, and the means to look there.
type imagePlace struct {
	view   view
	where  enter.Resolved
	served *served // nil where the site has it mounted
}

// view returns where the repository is mounted, and a view of it. Its errors are for the user: that a key file does not
// exist must not pass for a missing image.
func (r *repositories) view(ctx context.Context, fqrn string) (imagePlace, error) {
	where, v, err := r.place(ctx, fqrn)
	if err != nil {
		return imagePlace{}, errors.New(err.Error())
	}
	if where.Host {
		return imagePlace{view: hostView{where.Source}, where: where}, nil
	}
	rev, _, err := leaseOf(ctx).revision(v)
	return imagePlace{catalogView{rev}, where, v}, err
}

// follow walks p, which is clean and absolute in the repository, through symbolic links, into other repositories too.
// The error matches fs.ErrNotExist if something is missing on the way.
func (r *repositories) follow(ctx context.Context, fqrn, p string) (imagePlace, error) {
	at, err := r.view(ctx, fqrn)
	if err != nil {
		return at, err
	}
	for range maxLinks {
		r.approach(ctx, at, p)
		link, err := firstLink(ctx, at.view, p)
		switch {
		case err != nil:
			return at, err
		case link == nil:
			at.where.InRepo = p
			at.where.Path = path.Join(at.where.Source, p)
			return at, nil
		case !path.IsAbs(link.target):
			// Upwards it cannot leave the repository: what is beside its mount point is no place for images.
			p = path.Join("/", link.dir, link.target, link.rest)
			continue
		}
		var ok bool
		from, to := fqrn, path.Join(link.target, link.rest)
		if fqrn, p, ok = splitPath(to); !ok {
			return at, fmt.Errorf("%s leads to %s, which is in no repository", path.Join("/cvmfs", from, link.dir), to)
		}
		if at, err = r.view(ctx, fqrn); err != nil {
			return at, fmt.Errorf("repository %s leads to %s: %w", from, to, err)
		}
	}
	return at, fmt.Errorf("%s leads through more than %d symbolic links", path.Join("/cvmfs", fqrn, p), maxLinks)
}

// approach fetches ahead for what may be an image. A flat image is known for one by its path alone, and so is one that was
// started before; so its start begins before the catalog is here.
func (r *repositories) approach(ctx context.Context, at imagePlace, p string) {
	if at.served == nil || r.tree == nil {
		return
	}
	at.served.approach(ctx, p)
	if id, ok := unpacked.ImageOf(p); ok && p == unpacked.FlatRoot(id) || at.served.recorded(p) {
		at.served.start(p)
	}
}

// symlink is the first symbolic link in a path.
type symlink struct{ dir, target, rest string } // rest is what follows it in the path, "" or "/…"

// firstLink finds it, nil if there is none. Most paths have none, so the whole is looked up before its parts.
func firstLink(ctx context.Context, v view, p string) (*symlink, error) {
	mode, target, err := v.stat(ctx, p)
	switch {
	case err == nil && mode == fs.ModeSymlink:
		return &symlink{path.Dir(p), target, ""}, nil
	case err == nil:
		return nil, nil
	}
	for i := 1; i < len(p); i++ {
		if p[i] != '/' {
			continue
		}
		mode, target, partErr := v.stat(ctx, p[:i])
		if partErr != nil {
			return nil, partErr
		}
		if mode == fs.ModeSymlink {
			return &symlink{path.Dir(p[:i]), target, p[i:]}, nil
		}
	}
	return nil, err
}

// finish makes sure that it is a directory and adds the configuration.
func (r *repositories) finish(ctx context.Context, image string, at imagePlace) (enter.Resolved, error) {
	mode, _, err := at.view.stat(ctx, at.where.InRepo)
	if err != nil {
		return enter.Resolved{}, fmt.Errorf("image %s: %w", image, err)
	}
	if mode != fs.ModeDir {
		return enter.Resolved{}, fmt.Errorf("image %s: %s is a file, not the directory of an image", image, at.where.Path)
	}
	if at.served != nil && r.tree != nil {
		at.served.start(at.where.InRepo)
	}
	config, err := imageConfig(ctx, at.view, at.where.InRepo)
	if err != nil {
		return enter.Resolved{}, fmt.Errorf("image %s: %w", image, err)
	}
	if at.served != nil && r.tree != nil {
		at.served.ahead.Program(at.where.InRepo, programOf(ctx), searchPath(config))
	}
	at.where.Config = config
	return at.where, nil
}

// resolveName looks an image name up in the configured repositories, in their order.
func (r *repositories) resolveName(ctx context.Context, image string) (enter.Resolved, error) {
	name, platform := unpacked.CutPlatform(image)
	ref, err := unpacked.ParseReference(name, r.settings.Images.DefaultRegistry)
	if err != nil {
		return enter.Resolved{}, err
	}
	search := r.searched()
	if len(search) == 0 {
		return enter.Resolved{}, fmt.Errorf("image %s: no repository is configured to look names up in (images: search:)", image)
	}
	var failures []error
	for _, fqrn := range search {
		for _, candidate := range ref.Candidates() {
			found, err := r.follow(ctx, fqrn, path.Clean(candidate)+platform)
			if err == nil {
				found.where.Name = ref.String() + platform
				return r.finish(ctx, image, found)
			}
			if !errors.Is(err, fs.ErrNotExist) {
				failures = append(failures, err)
				break // the repository, not the name, is at fault
			}
		}
	}
	full := ""
	if s := ref.String() + platform; s != image {
		full = " (" + s + ")"
	}
	text := fmt.Sprintf("image %s%s is not in %s%s", image, full, strings.Join(search, ", "), r.nearName(ctx, search, ref))
	if len(failures) > 0 {
		return enter.Resolved{}, fmt.Errorf("%s; %w", text, errors.Join(failures...))
	}
	return enter.Resolved{}, errors.New(text)
}

// searched are the repositories to look names up in: the configured list, else all that are configured by name.
func (r *repositories) searched() []string {
	if len(r.settings.Images.Search) > 0 {
		return r.settings.Images.Search
	}
	var all []string
	for fqrn := range r.settings.Repositories {
		all = append(all, fqrn)
	}
	slices.Sort(all)
	return all
}
