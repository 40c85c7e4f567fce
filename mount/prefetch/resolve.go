package prefetch

import (
	"context"
	"errors"
	"strings"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/repo"
)

// open finds a regular file's first object by its path inside the image at root, following links as the kernel would for a
// process whose root it is.
func (p *Prefetcher) open(root, name string) (where string, o cas.Object, ok bool) {
	rev := p.cfg.Revision()
	n, err := resolve(p.ctx, rev, root, name)
	if err != nil || !n.Entry.IsRegular() {
		return "", cas.Object{}, false
	}
	objects, err := rev.Objects(n)
	if err != nil || len(objects) == 0 {
		return "", cas.Object{}, false
	}
	return n.Path, objects[0], true
}

var errLoop = errors.New("too many symbolic links")

// maxLinks is the kernel's bound on the links of one path.
const maxLinks = 40

// resolve walks the path name inside root.
func resolve(ctx context.Context, rev *repo.Revision, root, name string) (repo.Node, error) {
	at, err := rev.Lookup(ctx, root)
	if err != nil {
		return repo.Node{}, err
	}
	top, links := at, 0
	rest := strings.Split(name, "/")
	stack := []repo.Node{at} // for ".."
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(stack) > 1 {
				stack = stack[:len(stack)-1]
			}
			continue
		}
		n, err := rev.Child(ctx, stack[len(stack)-1], part)
		if err != nil {
			return repo.Node{}, err
		}
		if !n.Entry.IsSymlink() {
			stack = append(stack, n)
			continue
		}
		if links++; links > maxLinks {
			return repo.Node{}, errLoop
		}
		target := rev.Readlink(n)
		if strings.HasPrefix(target, "/") {
			stack = []repo.Node{top}
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return stack[len(stack)-1], nil
}
