package layer

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"github.com/flatrun/flatrun/unpacked/publish"
)

// mark says what a record is besides an entry.
type mark byte

const (
	entry    mark = iota
	whiteout      // the layer removes the path
	opaque        // the layer hides what lower ones have in the directory
	aside         // a file of aufs's own: no part of the tree, but hard links may lead to it
)

// record is one line of the tar, as far as sorting needs it.
type record struct {
	item publish.Item
	mark mark
	seq  uint32 // its place in the tar: of two entries of one path the later counts
}

// compareRecords is the order of runs.
func compareRecords(a, b record) int {
	if c := publish.ComparePaths(a.item.Path, b.item.Path); c != 0 {
		return c
	}
	return int(a.seq) - int(b.seq)
}

// file holds records in a scratch file without a name; it is gone with the process.
type file struct {
	f *os.File
	w *bufio.Writer
	n int
}

func create(dir string) (*file, error) {
	f, err := os.CreateTemp(dir, "layer")
	if err != nil {
		return nil, fmt.Errorf("scratch file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("scratch file: %w", err)
	}
	return &file{f: f, w: bufio.NewWriterSize(f, 64<<10)}, nil
}

func (f *file) add(r *record) error {
	b, err := r.item.AppendBinary(nil)
	if err != nil {
		return err
	}
	head := binary.AppendUvarint([]byte{byte(r.mark)}, uint64(r.seq))
	head = binary.AppendUvarint(head, uint64(len(b)))
	if _, err := f.w.Write(head); err != nil {
		return fmt.Errorf("scratch file: %w", err)
	}
	if _, err := f.w.Write(b); err != nil {
		return fmt.Errorf("scratch file: %w", err)
	}
	f.n++
	return nil
}

// reader reads the records from the first one. Several readers may be at work once all records are written.
func (f *file) reader() (*reader, error) {
	if err := f.w.Flush(); err != nil {
		return nil, fmt.Errorf("scratch file: %w", err)
	}
	return &reader{r: bufio.NewReaderSize(io.NewSectionReader(f.f, 0, 1<<62), 64<<10), left: f.n}, nil
}

func (f *file) close() error { return f.f.Close() }

// reader reads a file of records.
type reader struct {
	r    *bufio.Reader
	left int
	at   record
}

// next moves to the next record and tells whether there is one.
func (r *reader) next() (bool, error) {
	if r.left == 0 {
		return false, nil
	}
	r.left--
	m, err := r.r.ReadByte()
	if err != nil {
		return false, fmt.Errorf("scratch file: %w", err)
	}
	seq, err := binary.ReadUvarint(r.r)
	if err != nil {
		return false, fmt.Errorf("scratch file: %w", err)
	}
	size, err := binary.ReadUvarint(r.r)
	if err != nil {
		return false, fmt.Errorf("scratch file: %w", err)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r.r, b); err != nil {
		return false, fmt.Errorf("scratch file: %w", err)
	}
	r.at = record{mark: mark(m), seq: uint32(seq)}
	return true, r.at.item.UnmarshalBinary(b)
}
