package prefetch

import (
	"path"
	"slices"
	"strings"
)

// imported are the modules of Python's standard library that most programs import, by way of re, enum, typing and their
// like. The others of its two hundred are fetched when there is nothing better to do.
var imported = []string{
	"sitecustomize", "warnings", "types", "enum", "operator", "functools", "keyword", "reprlib", "copyreg", "contextlib",
	"_weakrefset", "weakref", "abc", "io", "os", "stat", "posixpath", "genericpath", "site", "codecs", "_collections_abc",
	"struct", "numbers", "datetime", "copy", "heapq", "bisect", "random", "string", "textwrap", "fnmatch", "pathlib",
	"token", "tokenize", "linecache", "opcode", "dis", "ast", "inspect", "dataclasses", "typing", "traceback", "threading",
	"pickle", "_compat_pickle", "hashlib", "base64", "locale", "signal", "shutil", "tempfile", "subprocess", "__future__",
}

// importedPackages are the small packages of which the same holds.
var importedPackages = []string{"collections", "re", "json"}

// encodings are those of the hundred that a Python reads.
var encodings = []string{"__init__", "aliases", "utf_8", "ascii", "latin_1"}

// python fetches the modules that a Python reads at its start, and later the others of its library: name is the interpreter's
// path in the image.
func (p *Prefetcher) python(root, name string) {
	version := path.Base(name)
	if !strings.HasPrefix(version, "python3.") || p.cfg.NoSiblings {
		return
	}
	library := root + path.Join(path.Dir(name), "../lib", version)
	p.mu.Lock()
	again := p.pythons[library]
	p.pythons[library] = true
	p.mu.Unlock()
	if again {
		return
	}
	p.fetchNamed(library+"/encodings", encodings)
	modules := p.fetchNamed(library, imported)
	for _, name := range importedPackages {
		p.fetchSmallest(p.files(library+"/"+name+"/"+cacheDir, ".pyc", maxModule), maxSubpackage)
	}
	slices.SortFunc(modules, bySize)
	limit := int64(maxDirectory)
	for _, f := range modules {
		if limit -= f.size; limit < 0 {
			break
		}
		p.fetchLater(f.objects...)
	}
}

// fetchNamed fetches those compiled modules of a directory that are named, in that order, and answers all that there are.
func (p *Prefetcher) fetchNamed(dir string, names []string) (all []file) {
	all = p.files(dir+"/"+cacheDir, ".pyc", maxModule)
	byName := make(map[string]file, len(all))
	for _, f := range all {
		module, _, _ := strings.Cut(path.Base(f.path), ".")
		byName[module] = f
	}
	for _, name := range names {
		p.Fetch(byName[name].objects...)
	}
	return all
}

// isLibrary tells whether a directory belongs to Python's standard library, of which python takes care.
func isLibrary(dir string) bool {
	for ; dir != "/" && dir != "."; dir = path.Dir(dir) {
		switch base := path.Base(dir); {
		case base == "dist-packages" || base == "site-packages":
			return false
		case strings.HasPrefix(base, "python3.") && path.Base(path.Dir(dir)) == "lib":
			return true
		}
	}
	return false
}
