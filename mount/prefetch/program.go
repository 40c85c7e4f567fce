package prefetch

import (
	"io"
	"path"
	"strings"
)

// DefaultPath is where programs are looked for in an image that does not say.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Program tells that a program of the image with its root at that path of the repository is about to be run: a path in the
// image, or a name that is looked for in the directories of path, a list as in PATH. It is fetched with what it needs, before
// the one who will execute it has got that far.
func (p *Prefetcher) Program(root, name, path string) {
	if name == "" || p.cfg.NoLibraries || p.replayed(root+"/") {
		return
	}
	p.AddRoot(root)
	p.keeping.Go(func() { p.fetchProgram(root, name, path, 0) })
}

// fetchProgram fetches one program.
func (p *Prefetcher) fetchProgram(root, name, list string, depth int) {
	where, ok := p.find(root, name, list)
	if !ok {
		return
	}
	p.need(root, where, depth)
	if found, _, ok := p.open(root, where); ok {
		p.python(root, strings.TrimPrefix(found, root))
	}
}

// find looks a program up, as a shell would.
func (p *Prefetcher) find(root, name, list string) (where string, ok bool) {
	if strings.Contains(name, "/") {
		return name, true
	}
	for dir := range strings.SplitSeq(list, ":") {
		where = path.Join("/", dir, name)
		if _, _, ok := p.open(root, where); ok {
			return where, true
		}
	}
	return "", false
}

// maxShebang is how much of a script's first line the kernel reads.
const maxShebang = 256

// script fetches the interpreter of a script, and the one that env(1) will look for.
func (p *Prefetcher) script(root string, f io.ReaderAt, depth int) {
	var b [maxShebang]byte
	n, _ := f.ReadAt(b[:], 0)
	line, found := strings.CutPrefix(string(b[:n]), "#!")
	if !found {
		return
	}
	line, _, _ = strings.Cut(line, "\n")
	words := strings.Fields(line)
	if len(words) == 0 {
		return
	}
	p.fetchProgram(root, words[0], "", depth+1)
	if path.Base(words[0]) == "env" && len(words) > 1 {
		p.fetchProgram(root, words[len(words)-1], DefaultPath, depth+1)
	}
}
