package prefetch

import (
	"path"
	"slices"
	"strings"

	"github.com/flatrun/flatrun/mount/cas"
)

// event is a read that had to open an object.
type event struct {
	path    func() string
	objects []cas.Object
	index   int
}

// guesses is the state of the guessing goroutine, which alone touches it.
type guesses struct {
	chunks map[key]int // by a chunked file's first object: the chunk read last
	window map[key]int // and how far to read ahead of it
	dirs   map[string]*siblings
	asked  map[string]bool // programs looked at
	roots  []string
}

// maxGuesses bounds each of the tables; they start anew when they are full.
const maxGuesses = 4096

// guess draws conclusions from reads until Close.
func (p *Prefetcher) guess() {
	defer close(p.done)
	for {
		select {
		case <-p.ctx.Done():
			return
		case e := <-p.events:
			p.consider(e)
		}
	}
}

func (p *Prefetcher) consider(e event) {
	if len(e.objects) > 1 && !p.cfg.NoReadAhead {
		p.readAhead(e)
	}
	p.mu.Lock()
	recording := len(p.records) > 0
	p.mu.Unlock()
	if !recording && p.cfg.NoLibraries && p.cfg.NoSiblings {
		return
	}
	name := e.path()
	if recording {
		p.record(name, e.objects[e.index])
	}
	if e.index > 0 || name == "" || p.replayed(name) {
		return
	}
	if !p.cfg.NoLibraries {
		p.program(name, e.objects[0])
	}
	if !p.cfg.NoSiblings {
		p.sibling(name)
	}
}

// maxWindow is how many chunks are fetched ahead of a reader at most: with the usual eight megabytes each, what a fast
// network brings in a second.
const maxWindow = 8

// readAhead fetches the chunks after the one that is read, once two were read in order: a program that looks at the head of
// a large file should not pay for all of it. The window doubles with each chunk.
func (p *Prefetcher) readAhead(e event) {
	g := &p.guesses
	if g.chunks == nil || len(g.chunks) > maxGuesses {
		g.chunks, g.window = make(map[key]int), make(map[key]int)
	}
	first := key{e.objects[0].Hash, e.objects[0].Compression}
	last, known := g.chunks[first]
	g.chunks[first] = e.index
	if !known || e.index < last || e.index > last+maxWindow {
		g.window[first] = 0
		return
	}
	if e.index == last {
		return
	}
	window := min(max(2*g.window[first], 2), maxWindow)
	g.window[first] = window
	p.Fetch(e.objects[e.index+1 : min(e.index+1+window, len(e.objects))]...)
}

// AddRoot tells that an image has its root at path in the repository: libraries are looked for there.
func (p *Prefetcher) AddRoot(root string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.guesses.roots {
		if r == root {
			return
		}
	}
	p.guesses.roots = append(p.guesses.roots, root)
}

// replayed tells whether the file is one of an image whose start is known: what would be guessed has come, or is not read.
func (p *Prefetcher) replayed(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.known, func(root string) bool { return within(name, root) })
}

// root is the innermost image that holds the file, "" and false where none does.
func (p *Prefetcher) root(name string) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	best, found := "", false
	for _, r := range p.guesses.roots {
		if within(name, r) && (!found || len(r) > len(best)) {
			best, found = r, true
		}
	}
	return best, found
}

// within tells whether the path lies in dir.
func within(name, dir string) bool {
	rest, ok := strings.CutPrefix(name, dir)
	return ok && strings.HasPrefix(rest, "/")
}

func dirOf(name string) string {
	if d := path.Dir(name); d != "/" {
		return d
	}
	return ""
}
