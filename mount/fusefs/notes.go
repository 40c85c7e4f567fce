package fusefs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A server can die while the mount lives on: whoever holds /dev/fuse besides starts another one, which must know what the ids
// mean that the kernel was told. So each server notes that in a file (in memory, held by the same keeper) before the kernel
// learns of it. A note is a kind and its values; numbers are varints, texts have their length before them.
//
//	I text                              the kernel's INIT request
//	R text                              hash of the root catalog that the kernel's tables are up to
//	C number base rows hash prefix      a catalog's numbers
//	L number path                       the catalog was at this place
//	D serial inode path                 a directory
//	F serial                            the kernel forgot it
//
// The last note may be cut short by the death: then the kernel did not learn of it.

const (
	noteInit    = 'I'
	noteRoot    = 'R'
	noteCatalog = 'C'
	noteLineage = 'L'
	noteDir     = 'D'
	noteForgot  = 'F'
)

// notebook is the file of notes. A nil one notes nothing.
type notebook struct {
	mu   sync.Mutex
	file *os.File
	buf  []byte
	size int64
	err  error // the first failure: nobody may take over after it
}

// note appends one note. It is called with the lock of the table that changes.
func (m *notebook) note(kind byte, numbers []uint64, texts ...string) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.buf = append(m.buf[:0], kind)
	for _, n := range numbers {
		m.buf = binary.AppendUvarint(m.buf, n)
	}
	for _, t := range texts {
		m.buf = binary.AppendUvarint(m.buf, uint64(len(t)))
		m.buf = append(m.buf, t...)
	}
	if m.err != nil {
		return
	}
	if _, m.err = m.file.WriteAt(m.buf, m.size); m.err != nil {
		unix.Ftruncate(int(m.file.Fd()), 0) // no memory for notes: what there is would mislead the next server
		return
	}
	m.size += int64(len(m.buf))
}

// remembered is what the notes say.
type remembered struct {
	init     []byte
	root     string
	catalogs []rememberedCatalog // in the order of their numbers
	lineages []rememberedPlace
	dirs     map[uint64]rememberedDir // by serial
	serial   uint64                   // the last one
	end      int64                    // of the last whole note
}

type rememberedCatalog struct {
	number, base, rows uint64
	hash, prefix       string
}

type rememberedPlace struct {
	number uint64
	at     string
}

type rememberedDir struct {
	inode uint64
	path  string
}

var errNotes = errors.New("the notes of the server before are damaged")

// parseNotes reads notes up to the last whole one.
func parseNotes(b []byte) (*remembered, error) {
	r := &remembered{dirs: map[uint64]rememberedDir{}}
	p := noteParser{rest: b}
	for len(p.rest) > 0 {
		kind := p.rest[0]
		p.rest = p.rest[1:]
		if !r.take(kind, &p) {
			return nil, fmt.Errorf("%w: unknown kind %#x at byte %d", errNotes, kind, r.end)
		}
		if p.short {
			break
		}
		r.end = int64(len(b) - len(p.rest))
	}
	return r, nil
}

// take reads the values of one note, and believes them when they are whole. It reports whether the kind is known.
func (r *remembered) take(kind byte, p *noteParser) bool {
	switch kind {
	case noteInit:
		if t := p.text(); !p.short {
			r.init = []byte(t)
		}
	case noteRoot:
		if t := p.text(); !p.short {
			r.root = t
		}
	case noteCatalog:
		c := rememberedCatalog{p.number(), p.number(), p.number(), p.text(), p.text()}
		if !p.short {
			r.catalogs = append(r.catalogs, c)
		}
	case noteLineage:
		l := rememberedPlace{p.number(), p.text()}
		if !p.short {
			r.lineages = append(r.lineages, l)
		}
	case noteDir:
		serial, d := p.number(), rememberedDir{p.number(), p.text()}
		if !p.short {
			r.dirs[serial] = d
			r.serial = max(r.serial, serial)
		}
	case noteForgot:
		if serial := p.number(); !p.short {
			delete(r.dirs, serial)
		}
	default:
		return false
	}
	return true
}

// noteParser reads values; short tells that one of them was not whole.
type noteParser struct {
	rest  []byte
	short bool
}

func (p *noteParser) number() uint64 {
	n, length := binary.Uvarint(p.rest)
	if length <= 0 || p.short {
		p.short = true
		return 0
	}
	p.rest = p.rest[length:]
	return n
}

func (p *noteParser) text() string {
	n := p.number()
	if p.short || n > uint64(len(p.rest)) {
		p.short = true
		return ""
	}
	t := string(p.rest[:n])
	p.rest = p.rest[n:]
	return t
}
