package prefetch

import (
	"cmp"
	"errors"
	"os"
	"path"
	"slices"
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

	maxModule     = 256 << 10 // bytes of one module; larger ones are data or are better waited for
	maxExtension  = 1 << 20   // bytes of one extension module
	maxPlain      = 128 << 10 // the same in a directory that is no package
	maxDirectory  = 6 << 20   // bytes of one directory, about a third of it on the wire
	maxSubpackage = 512 << 10 // bytes of the modules of a package within the one that is imported
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
	isPackage := strings.HasPrefix(path.Base(name), "__init__.")
	if isPackage && path.Base(strings.TrimSuffix(dir, "/"+cacheDir)) == "encodings" {
		s.done = true // Python's own, see python
	}
	if s.done || s.reads < plainReads && !isPackage {
		return
	}
	s.done = true
	if suffix == ".so" {
		p.fetchSmallest(p.files(dir, ".so", maxPlain), maxDirectory)
		return
	}
	p.fetchSmallest(p.files(dir, suffix, maxModule), maxDirectory)
	if isPackage {
		p.wholePackage(dir, suffix)
	}
}

// wholePackage fetches what else an imported package is likely to need: its extension modules with their libraries, and the
// packages within it if they are small. The modules themselves are in dir, the package's own directory or its __pycache__.
func (p *Prefetcher) wholePackage(dir, suffix string) {
	home := strings.TrimSuffix(dir, "/"+cacheDir)
	root, inImage := p.root(home)
	extensions := p.files(home, ".so", maxExtension)
	slices.SortFunc(extensions, bySize)
	for _, f := range extensions {
		var then func(*os.File)
		if inImage && !p.cfg.NoLibraries {
			then = func(file *os.File) { p.needs(root, f.path, file, 1) }
		}
		p.add(job{f.objects[0], then})
	}
	p.subpackages(home, dir, suffix, maxSubpackage)
}

// subpackages fetches the packages within the one at home whose modules have at most so many bytes, and of larger ones what
// says that they are packages.
func (p *Prefetcher) subpackages(home, dir, suffix string, limit int64) {
	for _, sub := range p.subdirectories(home) {
		if name := path.Base(sub); name == "tests" || name == "test" {
			continue // installed with nearly every package, imported by none
		}
		if strings.HasSuffix(dir, cacheDir) {
			sub += "/" + cacheDir
		}
		modules := p.files(sub, suffix, maxModule)
		total := int64(0)
		for _, f := range modules {
			total += f.size
		}
		switch first := slices.IndexFunc(modules, func(f file) bool { return strings.HasPrefix(path.Base(f.path), "__init__.") }); {
		case first < 0: // no package
		case total <= limit:
			p.fetchSmallest(modules, limit)
		default:
			p.Fetch(modules[first].objects...)
		}
	}
}

// cacheDir is where Python keeps compiled modules, below the directory of their sources.
const cacheDir = "__pycache__"

// file is a regular file that may be worth fetching.
type file struct {
	path    string
	size    int64
	objects []cas.Object
}

func bySize(a, b file) int { return cmp.Compare(a.size, b.size) }

// fetchSmallest fetches files, small ones first: they are the ones for which waiting costs more than their bytes.
func (p *Prefetcher) fetchSmallest(files []file, limit int64) {
	slices.SortFunc(files, bySize)
	for _, f := range files {
		if limit -= f.size; limit < 0 {
			return
		}
		p.Fetch(f.objects...)
	}
}

// maxEntries bounds how much of a directory a guess looks at.
const maxEntries = 2000

var errEnough = errors.New("enough")

// list visits the entries of a directory; a directory that cannot be read has none.
func (p *Prefetcher) list(dir string, visit func(repo.Node)) {
	rev := p.cfg.Revision()
	d, err := rev.Lookup(p.ctx, dir)
	if err != nil {
		return
	}
	seen := 0
	rev.List(p.ctx, d, func(n repo.Node) error {
		if seen++; seen > maxEntries || p.ctx.Err() != nil {
			return errEnough
		}
		visit(n)
		return nil
	})
}

// files are the regular files of a directory that have the suffix and at most so many bytes.
func (p *Prefetcher) files(dir, suffix string, limit int64) (all []file) {
	rev := p.cfg.Revision()
	p.list(dir, func(n repo.Node) {
		if path.Ext(n.Entry.Name) != suffix || !n.Entry.IsRegular() || n.Entry.Size > limit {
			return
		}
		// A bad entry is none of a guess's business.
		if objects, err := rev.Objects(n); err == nil && len(objects) > 0 {
			all = append(all, file{n.Path, n.Entry.Size, objects})
		}
	})
	return all
}

func (p *Prefetcher) subdirectories(dir string) (all []string) {
	p.list(dir, func(n repo.Node) {
		if n.Entry.IsDir() && n.Entry.Name != cacheDir {
			all = append(all, n.Path)
		}
	})
	return all
}
