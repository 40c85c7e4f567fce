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
	maxHeart      = 8 << 20   // bytes of the largest extension module within a package
	maxWithin     = 12 << 20  // bytes of all of them
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
	if !isPackage && isLibrary(dir) {
		p.rest(dir, suffix)
		return
	}
	if suffix == ".so" {
		p.fetchSmallest(p.files(dir, ".so", maxPlain), maxDirectory)
		return
	}
	p.fetchSmallest(p.files(dir, suffix, maxModule), maxDirectory)
	if isPackage {
		p.wholePackage(dir, suffix)
	}
}

// rest fetches the other modules of a directory of Python's library, of which a program reads some: when there is time.
func (p *Prefetcher) rest(dir, suffix string) {
	files := p.files(dir, suffix, maxPlain)
	slices.SortFunc(files, bySize)
	for _, f := range files {
		p.fetchLater(f.objects...)
	}
}

// wholePackage fetches what else an imported package is likely to need: its extension modules with their libraries, and the
// packages within it if they are small. The modules themselves are in dir, the package's own directory or its __pycache__.
func (p *Prefetcher) wholePackage(dir, suffix string) {
	home := strings.TrimSuffix(dir, "/"+cacheDir)
	p.extensions(p.files(home, ".so", maxExtension))
	p.subpackages(home, dir, suffix, maxSubpackage)
}

// extensions fetches extension modules with their libraries, small ones first.
func (p *Prefetcher) extensions(files []file) {
	slices.SortFunc(files, bySize)
	for _, f := range files {
		var then func(*os.File)
		if root, inImage := p.root(f.path); inImage && !p.cfg.NoLibraries {
			then = func(file *os.File) { p.needs(root, f.path, file, 1) }
		}
		p.add(job{object: f.objects[0], then: then})
	}
}

// subpackages fetches the packages within the one at home whose modules have at most so many bytes, and of larger ones what
// says that they are packages; then the extension modules of all, which take longest until what they need is here.
func (p *Prefetcher) subpackages(home, dir, suffix string, limit int64) {
	var within []file
	for _, sub := range p.subdirectories(home) {
		if isTest(path.Base(sub)) {
			continue // installed with nearly every package, imported by none
		}
		modules := p.files(sub+strings.TrimPrefix(dir, home), suffix, maxModule)
		total := int64(0)
		for _, f := range modules {
			total += f.size
		}
		switch first := slices.IndexFunc(modules, func(f file) bool { return strings.HasPrefix(path.Base(f.path), "__init__.") }); {
		case first < 0: // no package
			continue
		case total <= limit:
			p.fetchSmallest(modules, limit)
		default:
			p.Fetch(modules[first].objects...)
		}
		within = append(within, p.files(sub, ".so", maxHeart)...)
	}
	p.extensionsWithin(within)
}

// extensionsWithin fetches the extension modules of the packages within one, if they are few enough to be one whole: the
// small ones, and the largest, which is the heart of such a package.
func (p *Prefetcher) extensionsWithin(all []file) {
	all = slices.DeleteFunc(all, func(f file) bool { module, _, _ := strings.Cut(path.Base(f.path), "."); return isTest(module) })
	total := int64(0)
	for _, f := range all {
		total += f.size
	}
	if total > maxWithin || len(all) == 0 {
		return
	}
	slices.SortFunc(all, bySize)
	heart := all[len(all)-1:]
	p.extensions(heart)
	p.extensions(slices.DeleteFunc(all[:len(all)-1], func(f file) bool { return f.size > maxExtension }))
}

// isTest tells by its name whether a module or package is there for tests only.
func isTest(name string) bool {
	return name == "test" || name == "tests" || strings.HasSuffix(name, "_tests") || strings.HasPrefix(name, "_test")
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
