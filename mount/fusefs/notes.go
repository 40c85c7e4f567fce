package fusefs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// A server can die while the mount lives on: whoever holds /dev/fuse besides starts another one, which must know what the ids
// mean that the kernel was told. So each server notes that in a file (in memory, held by the same keeper) before the kernel
// learns of it. The file begins with the offset, in 8 bytes, of the first note that counts. A note is a kind and its values;
// numbers are varints, texts have their length before them.
//
//	I text                              the kernel's INIT request
//	R text                              hash of the root catalog that the kernel's tables are up to
//	C number base rows hash prefix      a catalog's numbers
//	L number path                       the catalog was at this place
//	P number                            the revision with this root catalog is pinned
//	U number                            not any more
//	D serial inode number path          a directory of the pinned revision, 0 for the one that follows the head
//	F serial                            the kernel forgot it
//
// The last note may be cut short by the death: then the kernel did not learn of it.

const (
	noteInit    = 'I'
	noteRoot    = 'R'
	noteCatalog = 'C'
	noteLineage = 'L'
	notePin     = 'P'
	noteUnpin   = 'U'
	noteDir     = 'D'
	noteForgot  = 'F'
)

// notebook is the file of notes. A nil one notes nothing.
type notebook struct {
	mu    sync.Mutex
	file  *os.File
	buf   []byte
	start int64 // of the first note that counts
	size  int64
	floor int64 // what the notes took when they were last gathered
	err   error // the first failure: nobody may take over after it
}

const (
	notesHeader = 8
	notesRoom   = 1 << 20 // that outdated notes may take
)

// note appends one note. It is called with the lock of the table that changes.
func (m *notebook) note(kind byte, numbers []uint64, texts ...string) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil && m.size-m.start > notesRoom+4*m.floor {
		m.err = m.gather()
	}
	if m.err == nil {
		m.buf = appendNote(m.buf[:0], kind, numbers, texts...)
		_, m.err = m.file.WriteAt(m.buf, m.size)
	}
	if m.err != nil {
		unix.Ftruncate(int(m.file.Fd()), 0) // no memory for notes: what there is would mislead the next server
		return
	}
	m.size += int64(len(m.buf))
}

func appendNote(b []byte, kind byte, numbers []uint64, texts ...string) []byte {
	b = append(b, kind)
	for _, n := range numbers {
		b = binary.AppendUvarint(b, n)
	}
	for _, t := range texts {
		b = binary.AppendUvarint(b, uint64(len(t)))
		b = append(b, t...)
	}
	return b
}

// gather writes what the notes say in short behind them, makes the file begin there, and gives the memory before it back.
// A death in between leaves the one or the other beginning, and both say the same.
func (m *notebook) gather() error {
	r, err := m.read()
	if err != nil {
		return err
	}
	b := r.encode()
	if _, err := m.file.WriteAt(b, m.size); err != nil {
		return err
	}
	if err := m.begin(m.size); err != nil {
		return err
	}
	m.size += int64(len(b))
	m.floor = int64(len(b))
	return unix.Fallocate(int(m.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, notesHeader, m.start-notesHeader)
}

// begin makes offset the place of the first note that counts.
func (m *notebook) begin(offset int64) error {
	m.start = offset
	_, err := m.file.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(offset)), 0)
	return err
}

// read parses the notes that count.
func (m *notebook) read() (*remembered, error) {
	b := make([]byte, m.size-m.start)
	if n, err := m.file.ReadAt(b, m.start); n < len(b) {
		return nil, err
	}
	return parseNotes(b)
}

// encode writes the notes that say the same.
func (r *remembered) encode() (b []byte) {
	if r.init != nil {
		b = appendNote(b, noteInit, nil, string(r.init))
	}
	b = appendNote(b, noteRoot, nil, r.root)
	for _, c := range r.catalogs {
		b = appendNote(b, noteCatalog, []uint64{c.number, c.base, c.rows}, c.hash, c.prefix)
	}
	for _, l := range r.lineages {
		b = appendNote(b, noteLineage, []uint64{l.number}, l.at)
	}
	for _, number := range r.pins {
		b = appendNote(b, notePin, []uint64{number})
	}
	for serial, d := range r.dirs {
		b = appendNote(b, noteDir, []uint64{serial, d.inode, d.view}, d.path)
	}
	if _, known := r.dirs[r.serial]; !known && r.serial > 0 { // that it is not given again
		b = appendNote(b, noteForgot, []uint64{r.serial})
	}
	return b
}

// remembered is what the notes say.
type remembered struct {
	init     []byte
	root     string
	catalogs []rememberedCatalog // in the order of their numbers
	lineages []rememberedPlace
	pins     []uint64                 // numbers of root catalogs
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
	inode, view uint64
	path        string
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
	case notePin:
		if n := p.number(); !p.short && !slices.Contains(r.pins, n) {
			r.pins = append(r.pins, n)
		}
	case noteUnpin:
		if n := p.number(); !p.short {
			r.unpin(n)
		}
	case noteDir:
		serial, d := p.number(), rememberedDir{p.number(), p.number(), p.text()}
		if !p.short {
			r.dirs[serial] = d
			r.serial = max(r.serial, serial)
		}
	case noteForgot:
		if serial := p.number(); !p.short {
			delete(r.dirs, serial)
			r.serial = max(r.serial, serial)
		}
	default:
		return false
	}
	return true
}

// unpin takes a pinned revision away with its directories.
func (r *remembered) unpin(number uint64) {
	r.pins = slices.DeleteFunc(r.pins, func(n uint64) bool { return n == number })
	maps.DeleteFunc(r.dirs, func(_ uint64, d rememberedDir) bool { return d.view == number })
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
