package prefetch

import (
	"context"
	"path"
	"strings"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/repo"
)

// siblings is what is known of a directory with modules.
type siblings struct {
	reads int
	done  bool
}

const (
	// An import reads a few modules of the standard library and most of a package's; so a package is fetched as soon as its
	// first module is read, and a plain directory when some were.
	plainReads = 4

	maxSibling  = 256 << 10 // bytes of one module; larger ones are data or are better waited for
	maxSiblings = 2 << 20   // bytes of one directory
)

// sibling fetches the modules beside one that is imported.
func (p *Prefetcher) sibling(name string) {
	suffix := path.Ext(name)
	if suffix != ".pyc" && suffix != ".py" && suffix != ".so" {
		return
	}
	g := &p.guesses
	if g.dirs == nil || len(g.dirs) > maxGuesses {
		g.dirs = make(map[string]*siblings)
	}
	dir := dirOf(name)
	s := g.dirs[dir]
	if s == nil {
		s = &siblings{}
		g.dirs[dir] = s
	}
	s.reads++
	need := plainReads
	if strings.HasPrefix(path.Base(name), "__init__.") {
		need = 1
	}
	if s.done || s.reads < need {
		return
	}
	s.done = true
	p.directory(dir, suffix)
}

// directory fetches the files of a directory that have the suffix.
func (p *Prefetcher) directory(dir, suffix string) {
	rev := p.cfg.Revision()
	d, err := rev.Lookup(p.ctx, dir)
	if err != nil {
		return
	}
	var found []cas.Object
	total := int64(0)
	err = rev.List(p.ctx, d, func(n repo.Node) error {
		if path.Ext(n.Entry.Name) != suffix || !n.Entry.IsRegular() || n.Entry.Size > maxSibling || total+n.Entry.Size > maxSiblings {
			return p.ctx.Err()
		}
		objects, err := rev.Objects(n)
		if err != nil {
			return nil // a bad entry is none of a guess's business
		}
		total += n.Entry.Size
		found = append(found, objects...)
		return nil
	})
	if err == nil {
		p.Fetch(found...)
	}
}

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
