package catalog

import (
	"fmt"
	"strings"
)

// Counters count the entries of a catalog, or of everything below it.
type Counters struct {
	Regular, Symlink, Special, Dir int64 // entries by type; Regular includes chunked and external files
	Nested                         int64 // child catalogs
	Chunked, Chunks                int64 // chunked files, and their chunks
	FileSize, ChunkedSize          int64 // bytes of regular files, and of those in chunks
	Xattr                          int64 // entries of any type with attributes
	External, ExternalFileSize     int64
}

// Add adds o, counter by counter.
func (c *Counters) Add(o Counters) { c.combine(o, 1) }

// Sub subtracts o.
func (c *Counters) Sub(o Counters) { c.combine(o, -1) }

func (c *Counters) combine(o Counters, sign int64) {
	mine, other := c.fields(), o.fields()
	for i := range mine {
		*mine[i].value += sign * *other[i].value
	}
}

// AddEntry counts one entry and its chunks.
func (c *Counters) AddEntry(e *Entry, chunks int) {
	switch {
	case e.IsDir():
		c.Dir++
	case e.IsSymlink():
		c.Symlink++
	case e.IsRegular():
		c.addRegular(e, chunks)
	default:
		c.Special++
	}
	if len(e.Xattrs) > 0 || e.HasXattrs {
		c.Xattr++
	}
}

func (c *Counters) addRegular(e *Entry, chunks int) {
	c.Regular++
	c.FileSize += e.Size
	if e.Flags&Chunked != 0 {
		c.Chunked++
		c.Chunks += int64(chunks)
		c.ChunkedSize += e.Size
	}
	if e.Flags&External != 0 {
		c.External++
		c.ExternalFileSize += e.Size
	}
}

// Entries is how many files, links, directories and specials there are.
func (c Counters) Entries() int64 { return c.Regular + c.Symlink + c.Special + c.Dir }

// String lists the counters, "name,value" a line.
func (c Counters) String() string {
	var b strings.Builder
	for _, f := range c.fields() {
		fmt.Fprintf(&b, "%s,%d\n", f.name, *f.value)
	}
	return b.String()
}

type counter struct {
	name  string
	value *int64
}

// fields pairs each counter with its name in the statistics table.
func (c *Counters) fields() []counter {
	return []counter{
		{"regular", &c.Regular}, {"symlink", &c.Symlink}, {"special", &c.Special}, {"dir", &c.Dir},
		{"nested", &c.Nested}, {"chunked", &c.Chunked}, {"chunks", &c.Chunks},
		{"file_size", &c.FileSize}, {"chunked_size", &c.ChunkedSize}, {"xattr", &c.Xattr},
		{"external", &c.External}, {"external_file_size", &c.ExternalFileSize},
	}
}

// Statistics are a catalog's own counters and the sum over all catalogs below
// it, the catalog itself not included.
type Statistics struct{ Self, Subtree Counters }

// AddChild accounts for a child catalog: its entries belong to our subtree, and
// it is one nested catalog more.
func (s *Statistics) AddChild(child Statistics) {
	s.Self.Nested++
	s.Subtree.Add(child.Self)
	s.Subtree.Add(child.Subtree)
}

// Total sums the catalog and everything below it.
func (s Statistics) Total() Counters {
	t := s.Self
	t.Add(s.Subtree)
	return t
}

// fields pairs each counter with the key of its row: 24 of them.
func (s *Statistics) fields() []counter {
	var all []counter
	for _, part := range []struct {
		prefix string
		c      *Counters
	}{{"self_", &s.Self}, {"subtree_", &s.Subtree}} {
		for _, f := range part.c.fields() {
			all = append(all, counter{part.prefix + f.name, f.value})
		}
	}
	return all
}
