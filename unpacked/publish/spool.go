package publish

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/flatrun/flatrun/mount/catalog"
)

// spool is a stream of items in a scratch file that has no name: it is gone
// with the process. It can be read any number of times, also at once.
type spool struct {
	f     *os.File
	items int64
}

// createScratch makes a file without a name in dir.
func createScratch(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "items")
	if err != nil {
		return nil, fmt.Errorf("scratch file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("scratch file: %w", err)
	}
	return f, nil
}

// newSpool writes the stream, whose first item must be root.
func newSpool(dir, root string, items iter.Seq2[Item, error]) (s *spool, err error) {
	f, err := createScratch(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	s = &spool{f: f}
	w := bufio.NewWriterSize(f, 64<<10)
	order := streamOrder{root: root}
	var b []byte
	for it, err := range items {
		if err != nil {
			return nil, err
		}
		if err := order.next(&it); err != nil {
			return nil, err
		}
		if b, err = it.AppendBinary(b[:0]); err != nil {
			return nil, err
		}
		if _, err := w.Write(binary.AppendUvarint(nil, uint64(len(b)))); err != nil {
			return nil, err
		}
		if _, err := w.Write(b); err != nil {
			return nil, err
		}
		s.items++
	}
	return s, w.Flush()
}

func (s *spool) close() error { return s.f.Close() }

// reader reads the items from the first on.
func (s *spool) reader() *spoolReader {
	return &spoolReader{r: bufio.NewReaderSize(io.NewSectionReader(s.f, 0, 1<<62), 64<<10), left: s.items}
}

// spoolReader yields the items of a spool as they were written.
type spoolReader struct {
	r    *bufio.Reader
	left int64
	buf  []byte
}

// next returns false after the last item and with an error.
func (s *spoolReader) next() (it Item, more bool, err error) {
	if s.left == 0 {
		return it, false, nil
	}
	s.left--
	n, err := binary.ReadUvarint(s.r)
	if err != nil {
		return it, false, fmt.Errorf("read scratch file: %w", err)
	}
	if uint64(cap(s.buf)) < n {
		s.buf = make([]byte, n)
	}
	s.buf = s.buf[:n]
	if _, err := io.ReadFull(s.r, s.buf); err != nil {
		return it, false, fmt.Errorf("read scratch file: %w", err)
	}
	if err := it.UnmarshalBinary(s.buf); err != nil {
		return it, false, err
	}
	return it, true, nil
}

// streamOrder checks that a stream of items is a tree in path order: its root
// first, every directory before what lies in it.
type streamOrder struct {
	root string
	last string
	dirs []string // the directories that the next item may lie in
}

var errOrder = errors.New("not in path order")

func (o *streamOrder) next(it *Item) error {
	if err := it.check(); err != nil {
		return err
	}
	switch {
	case it.Path == o.root && o.dirs == nil:
		o.dirs = []string{} // begun
	case !below(it.Path, o.root):
		return fmt.Errorf("%q lies outside %q", it.Path, o.root)
	case it.Path == o.last:
		return fmt.Errorf("%q comes twice", it.Path)
	case ComparePaths(it.Path, o.last) < 0:
		return fmt.Errorf("%q after %q: %w", it.Path, o.last, errOrder)
	default:
		for len(o.dirs) > 0 && !below(it.Path, o.dirs[len(o.dirs)-1]) {
			o.dirs = o.dirs[:len(o.dirs)-1]
		}
		if parent := catalog.Parent(it.Path); len(o.dirs) == 0 || o.dirs[len(o.dirs)-1] != parent {
			return fmt.Errorf("%q: %q is missing before it, or not a directory", it.Path, parent)
		}
	}
	o.last = it.Path
	if it.Entry.IsDir() {
		o.dirs = append(o.dirs, it.Path)
	}
	return nil
}
