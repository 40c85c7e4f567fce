package cas

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
)

// An archive is one large file with the objects of a cache, for parallel file systems, which choke on many small files:
//
//	head      32 bytes    "flatrun archive 1\n", zeros
//	objects               uncompressed, one after the other
//	index     80 bytes an object, in ascending order of hash and algorithm:
//	          hash [20], algorithm [1], flags [1] (1 pinned), zeros [10], offset [8], size [8], SHA-256 of the bytes [32]
//	crumbs                text, a line for each repository: its name, a space, its breadcrumb
//	trailer   128 bytes   offset of the index [8], number of objects [8], bytes of crumbs [8], size of the file [8],
//	          SHA-256 of index and crumbs [32], zeros [16], "flatrun index 1\n" [16], SHA-256 of the trailer so far [32]
//
// Numbers are little endian. The index stands at the end, so that an archive is written in one pass, and a file that was
// cut short has no trailer.
//
// What is trusted: an object's name is the hash of its compressed form, which a cache does not keep, so that it cannot be
// checked against its name any more. It was, when it entered the cache that was exported; export compares it with the
// checksum taken then, and writes down the SHA-256 of what it puts into the archive. That sum is checked on every use, and
// it hangs on the checksum of the index. So damage of any kind is noticed and never read as content. Against malice there
// is the file system only: an archive counts as much as a cache directory, the one who names it in the configuration
// vouches for those who can write it, and one that everybody can write is refused.
const (
	archiveHead    = "flatrun archive 1\n"
	archiveMagic   = "flatrun index 1\n"
	headSize       = 32
	rowSize        = 80
	trailerSize    = 128
	maxCrumbsBytes = 1 << 20
	pinnedFlag     = 1
)

// Archive reads objects out of an archive. It is safe for concurrent use. As a Store it hands out copies that have no name;
// Remote copies into its cache instead.
type Archive struct {
	f       *os.File
	index   int64        // where it begins
	count   int64        // of objects
	fanout  [65537]int64 // number of the first row whose hash begins with these two bytes or more
	bytes   int64        // of all objects
	crumbs  []NamedCrumb // in the order of the file
	log     *slog.Logger // nil discards
	damaged sync.Map     // Hash → true: not worth a second try
}

// NamedCrumb is a repository's breadcrumb.
type NamedCrumb struct {
	FQRN string
	Breadcrumb
}

// archiveRow is an entry of the index.
type archiveRow struct {
	hash         Hash
	pinned       bool
	offset, size int64
	sum          [sha256.Size]byte
}

// OpenArchive opens a file that Export has written, and checks its index. What is wrong with it is an error that matches
// ErrCorrupt; the objects are checked when they are used.
func OpenArchive(path string, log *slog.Logger) (*Archive, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	a := &Archive{f: f, log: log}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if err := a.read(); err != nil {
		f.Close()
		return nil, fmt.Errorf("archive %s: %w", path, err)
	}
	return a, nil
}

// Close closes the file. Objects that were opened stay open.
func (a *Archive) Close() error { return a.f.Close() }

// Path is the archive's file.
func (a *Archive) Path() string { return a.f.Name() }

// Usage returns the bytes and the number of the objects.
func (a *Archive) Usage() (bytes, objects int64) { return a.bytes, a.count }

// Breadcrumbs are the heads of repositories that the exported cache had seen.
func (a *Archive) Breadcrumbs() []NamedCrumb { return a.crumbs }

func (a *Archive) read() error {
	st, err := a.f.Stat()
	switch {
	case err != nil:
		return err
	case !st.Mode().IsRegular():
		return errors.New("not a regular file")
	case st.Mode()&0o002 != 0:
		return fmt.Errorf("everybody can write it (mode %v), so nothing in it can be trusted; chmod o-w", st.Mode().Perm())
	}
	crumbs, sum, err := a.readTrailer(st.Size())
	if err != nil {
		return err
	}
	return a.readIndex(crumbs, sum)
}

// readTrailer checks the ends of the file, and finds the index.
func (a *Archive) readTrailer(size int64) (crumbs int64, sum []byte, err error) {
	var head [headSize]byte
	var t [trailerSize]byte
	if n, err := a.f.ReadAt(head[:], 0); err != nil && err != io.EOF {
		return 0, nil, err
	} else if !bytes.HasPrefix(head[:n], []byte(archiveHead)) {
		return 0, nil, fmt.Errorf("%w: it does not begin as an archive of flatrun cache export", ErrCorrupt)
	}
	if size < headSize+trailerSize {
		return 0, nil, fmt.Errorf("%w: it ends after %d bytes; copy it again", ErrCorrupt, size)
	}
	if _, err := a.f.ReadAt(t[:], size-trailerSize); err != nil {
		return 0, nil, err
	}
	if own := sha256.Sum256(t[:96]); !bytes.Equal(own[:], t[96:]) || string(t[80:96]) != archiveMagic {
		return 0, nil, fmt.Errorf("%w: it has no index at its end: it was cut short or changed; copy it again", ErrCorrupt)
	}
	number := func(at int) int64 { return int64(binary.LittleEndian.Uint64(t[at:])) }
	a.index, a.count, crumbs = number(0), number(8), number(16)
	switch {
	case number(24) != size:
		err = fmt.Errorf("%w: it has %d bytes and was written with %d; copy it again", ErrCorrupt, size, number(24))
	case a.index < headSize || a.index > size, a.count < 0 || a.count > size/rowSize, crumbs < 0 || crumbs > maxCrumbsBytes,
		a.index+a.count*rowSize+crumbs+trailerSize != size:
		err = fmt.Errorf("%w: its parts do not fit its size", ErrCorrupt)
	}
	return crumbs, t[32:64], err
}

// readIndex checks the rows, one by one, and keeps where which hashes begin: a few hundred kilobytes, however many there are.
func (a *Archive) readIndex(crumbs int64, want []byte) error {
	sum := sha256.New()
	in := io.TeeReader(io.NewSectionReader(a.f, a.index, a.count*rowSize+crumbs), sum)
	buf := make([]byte, 1024*rowSize)
	var last []byte
	next := 0 // the first entry of fanout that is not known yet
	for row := int64(0); row < a.count; {
		part := buf[:min(int64(len(buf)), (a.count-row)*rowSize)]
		if _, err := io.ReadFull(in, part); err != nil {
			return err
		}
		for ; len(part) > 0; part, row = part[rowSize:], row+1 {
			r, err := a.parseRow(part)
			if err != nil {
				return fmt.Errorf("%w: index, row %d: %v", ErrCorrupt, row, err)
			}
			if last != nil && bytes.Compare(last, part[:21]) >= 0 {
				return fmt.Errorf("%w: index, row %d is out of order", ErrCorrupt, row)
			}
			last = append(last[:0], part[:21]...)
			for ; next <= int(binary.BigEndian.Uint16(part)); next++ {
				a.fanout[next] = row
			}
			a.bytes += r.size
		}
	}
	for ; next < len(a.fanout); next++ {
		a.fanout[next] = a.count
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	if !bytes.Equal(sum.Sum(nil), want) {
		return fmt.Errorf("%w: its index does not match its checksum; copy it again", ErrCorrupt)
	}
	a.crumbs, err = parseCrumbs(string(text))
	return err
}

func (a *Archive) parseRow(b []byte) (r archiveRow, err error) {
	if r.hash, err = NewHash(Algorithm(b[20]), b[:20]); err != nil {
		return r, err
	}
	r.pinned = b[21]&pinnedFlag != 0
	r.offset, r.size = int64(binary.LittleEndian.Uint64(b[32:])), int64(binary.LittleEndian.Uint64(b[40:]))
	copy(r.sum[:], b[48:rowSize])
	if r.offset < headSize || r.size < 0 || r.size > a.index || r.offset > a.index-r.size {
		return r, fmt.Errorf("object %v lies outside of the file", r.hash)
	}
	return r, nil
}

func (r archiveRow) append(b []byte) []byte {
	var row [rowSize]byte
	copy(row[:], r.hash.sum[:])
	row[20] = byte(r.hash.algorithm)
	if r.pinned {
		row[21] = pinnedFlag
	}
	binary.LittleEndian.PutUint64(row[32:], uint64(r.offset))
	binary.LittleEndian.PutUint64(row[40:], uint64(r.size))
	copy(row[48:], r.sum[:])
	return append(b, row[:]...)
}

func parseCrumbs(text string) (all []NamedCrumb, err error) {
	for line := range strings.Lines(text) {
		name, crumb, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		b, err := parseBreadcrumb(crumb)
		if !ok || err != nil || name == "" || strings.ContainsAny(name, "/\x00") {
			return nil, fmt.Errorf("%w: breadcrumb %q", ErrCorrupt, line)
		}
		all = append(all, NamedCrumb{name, b})
	}
	return all, nil
}

// find looks an object up: one read of the few rows whose hashes begin alike.
func (a *Archive) find(h Hash) (archiveRow, error) {
	prefix := int(h.sum[0])<<8 | int(h.sum[1])
	first, end := a.fanout[prefix], a.fanout[prefix+1]
	rows := make([]byte, (end-first)*rowSize)
	if _, err := a.f.ReadAt(rows, a.index+first*rowSize); err != nil {
		return archiveRow{}, fmt.Errorf("archive %s: %w", a.Path(), err)
	}
	key := append(append(make([]byte, 0, 21), h.sum[:]...), byte(h.algorithm))
	n := sort.Search(int(end-first), func(i int) bool { return bytes.Compare(rows[i*rowSize:i*rowSize+21], key) >= 0 })
	if n == int(end-first) || !bytes.Equal(rows[n*rowSize:n*rowSize+21], key) {
		return archiveRow{}, fmt.Errorf("archive %s: object %v: %w", filepath.Base(a.Path()), h, fs.ErrNotExist)
	}
	r, err := a.parseRow(rows[n*rowSize:])
	if err != nil {
		err = fmt.Errorf("archive %s: %w: %w", a.Path(), ErrCorrupt, err)
	}
	return r, err
}

// Has reports whether the archive lists the object, with the size it should have.
func (a *Archive) Has(o Object) bool {
	r, err := a.find(o.Hash)
	return err == nil && (o.Size < 0 || r.size == o.Size)
}

// copy writes an object into w. The bytes are right if and only if the error is nil; it matches fs.ErrNotExist if the archive
// has no such object, and ErrCorrupt if it has it damaged.
func (a *Archive) copy(o Object, w io.Writer) error {
	if _, bad := a.damaged.Load(o.Hash); bad {
		return fmt.Errorf("archive %s: object %v: %w", a.Path(), o.Hash, ErrCorrupt)
	}
	r, err := a.find(o.Hash)
	if err == nil && o.Size >= 0 && r.size != o.Size {
		err = fmt.Errorf("archive %s: object %v: %w: %d bytes, want %d", a.Path(), o.Hash, ErrCorrupt, r.size, o.Size)
	}
	if err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), io.NewSectionReader(a.f, r.offset, r.size))
	switch {
	case err != nil:
		return fmt.Errorf("archive %s: object %v: %w", a.Path(), o.Hash, err)
	case n == r.size && bytes.Equal(sum.Sum(nil), r.sum[:]):
		return nil
	}
	a.damaged.Store(o.Hash, true)
	a.log.Warn("object in the archive is damaged; make the archive anew", "archive", a.Path(), "object", o.Hash.String())
	return fmt.Errorf("archive %s: object %v: %w: its bytes do not match the index", a.Path(), o.Hash, ErrCorrupt)
}

// Open opens a verified copy of the object that has no name.
func (a *Archive) Open(ctx context.Context, o Object) (*os.File, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open %v: %w", o, err)
	}
	if o.Hash.IsZero() {
		return nil, fmt.Errorf("open object: it has no hash: %w", fs.ErrInvalid)
	}
	if _, err := a.find(o.Hash); err != nil {
		return nil, err
	}
	d, err := newDraft(nil, o)
	if err != nil {
		return nil, fmt.Errorf("open %v: no room for it: %w", o, err)
	}
	if err := a.copy(o, d); err != nil {
		d.discard()
		return nil, err
	}
	f, _, err := d.commit()
	return f, err
}

// List visits all objects in the order of their hashes.
func (a *Archive) List(ctx context.Context, visit func(Entry) error) error {
	in := io.NewSectionReader(a.f, a.index, a.count*rowSize)
	var row [rowSize]byte
	for range a.count {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("list archive: %w", err)
		}
		if _, err := io.ReadFull(in, row[:]); err != nil {
			return fmt.Errorf("list archive: %w", err)
		}
		r, err := a.parseRow(row[:])
		if err == nil {
			err = visit(Entry{Hash: r.hash, Size: r.size, Pinned: r.pinned})
		}
		if err != nil {
			return err
		}
	}
	return nil
}
