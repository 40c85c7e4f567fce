package prefetch

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/flatrun/flatrun/mount/cas"
)

// program looks at a file that is read for the first time: if it is a program or library, what it needs is fetched.
func (p *Prefetcher) program(name string, o cas.Object) {
	root, ok := p.root(name)
	if !ok {
		return
	}
	g := &p.guesses
	if g.asked == nil || len(g.asked) > maxGuesses {
		g.asked = make(map[string]bool)
	}
	if g.asked[name] {
		return
	}
	g.asked[name] = true
	// The read that told us of it fetches it too: this joins.
	p.add(job{object: o, then: func(f *os.File) { p.needs(root, name, f, 0) }})
}

// Start tells that a program of the image with its root at that path of the repository is about to be run. Its name is a path
// in the image; it and what every program reads is fetched.
func (p *Prefetcher) Start(root, program string) {
	p.AddRoot(root)
	if p.cfg.NoLibraries {
		return
	}
	p.need(root, program, 0)
	for _, name := range common {
		p.need(root, name, 1)
	}
}

// common is what nearly every program that starts reads: the loader, the C library, and what that looks up. Absent files
// cost a look into the catalog, which is here.
var common = []string{
	"/etc/ld.so.cache", "/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-x86_64.so.1",
	"/lib/x86_64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6", "/lib64/libc.so.6",
	"/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/localtime", "/usr/lib/locale/C.utf8/LC_CTYPE",
	"/usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache", "/usr/lib64/gconv/gconv-modules.cache",
}

const (
	maxDepth  = 8  // of libraries that need libraries
	maxNeeded = 64 // libraries of one program
	maxPaths  = 32 // directories in one list
)

// needs fetches what the program or library in f, which is at name, needs.
func (p *Prefetcher) needs(root, name string, f io.ReaderAt, depth int) {
	if depth > maxDepth {
		return
	}
	n, err := needed(f)
	if errors.Is(err, errNotELF) {
		p.script(root, f, depth)
	}
	if err != nil {
		return // most files are none
	}
	if n.interpreter != "" {
		p.need(root, n.interpreter, depth)
		p.python(root, strings.TrimPrefix(name, root))
	}
	dirs := n.directories(strings.TrimPrefix(dirOf(name), root))
	for _, library := range n.libraries {
		for _, dir := range dirs {
			if p.need(root, path.Join(dir, library), depth) {
				break
			}
		}
	}
}

// need fetches one file of the image, and what it needs in turn; false if there is no such file.
func (p *Prefetcher) need(root, name string, depth int) bool {
	where, o, ok := p.open(root, name)
	if !ok {
		return false
	}
	p.mu.Lock()
	again := p.seen[key{o.Hash, o.Compression}]
	p.mu.Unlock()
	if !again {
		p.add(job{object: o, then: func(f *os.File) { p.needs(root, where, f, depth+1) }})
	}
	return true
}

// needs are what a program tells its loader.
type needs struct {
	interpreter string
	libraries   []string
	runpath     []string
	machine     elf.Machine
	class       elf.Class
}

// errNotELF is for the many files that are no programs.
var errNotELF = errors.New("not an ELF file")

// needed reads the dynamic section of an ELF file. The bytes are those of anybody's image: debug/elf is made for that.
func needed(f io.ReaderAt) (n needs, err error) {
	var magic [4]byte
	if _, err := f.ReadAt(magic[:], 0); err != nil || !bytes.Equal(magic[:], []byte(elf.ELFMAG)) {
		return n, errNotELF
	}
	e, err := elf.NewFile(f)
	if err != nil {
		return n, err
	}
	n.machine, n.class = e.Machine, e.Class
	for _, s := range e.Progs {
		if s.Type != elf.PT_INTERP || s.Filesz > 4096 {
			continue
		}
		b := make([]byte, s.Filesz)
		if _, err := io.ReadFull(s.Open(), b); err != nil {
			return n, fmt.Errorf("interpreter: %w", err)
		}
		text, _, _ := strings.Cut(string(b), "\x00")
		n.interpreter = text
	}
	if n.libraries, err = e.DynString(elf.DT_NEEDED); err != nil {
		return n, err
	}
	n.libraries = n.libraries[:min(len(n.libraries), maxNeeded)]
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		lists, err := e.DynString(tag)
		if err != nil {
			return n, err
		}
		for _, list := range lists {
			n.runpath = append(n.runpath, strings.Split(list, ":")...)
		}
	}
	return n, nil
}

// directories are where the loader would look for the libraries of a file in the directory origin of the image.
func (n needs) directories(origin string) []string {
	var dirs []string
	for _, d := range n.runpath[:min(len(n.runpath), maxPaths)] {
		d = strings.ReplaceAll(strings.ReplaceAll(d, "$ORIGIN", origin), "${ORIGIN}", origin)
		if strings.HasPrefix(d, "/") {
			dirs = append(dirs, d)
		}
	}
	if triplet := triplets[n.machine]; triplet != "" {
		dirs = append(dirs, "/lib/"+triplet, "/usr/lib/"+triplet)
	}
	if n.class == elf.ELFCLASS64 {
		dirs = append(dirs, "/lib64", "/usr/lib64")
	}
	// A library's neighbours are its most likely companions, whatever the loader's configuration says.
	return append(dirs, "/lib", "/usr/lib", "/usr/local/lib", origin)
}

// triplets are Debian's names for where libraries of a machine are.
var triplets = map[elf.Machine]string{elf.EM_X86_64: "x86_64-linux-gnu", elf.EM_AARCH64: "aarch64-linux-gnu",
	elf.EM_386: "i386-linux-gnu", elf.EM_PPC64: "powerpc64le-linux-gnu", elf.EM_RISCV: "riscv64-linux-gnu"}
