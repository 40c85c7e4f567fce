package publish

import (
	"context"
	"fmt"
	"iter"

	"github.com/flatrun/flatrun/mount/catalog"
)

// A sink takes the new tree in path order.
type sink interface {
	// dir begins a directory; base is the base's catalog that starts there, or
	// nil. leave ends it.
	dir(it *Item, base *baseCatalog) error
	leave() error
	file(it *Item) error
	// nested is a child catalog taken over as it is, which the base's catalog
	// from names.
	nested(it *Item, n catalog.Nested, from *baseCatalog) error
}

// walker merges the base with the edits.
type walker struct {
	ctx  context.Context
	base *baseTree
	sink sink
}

// walk sends the whole tree to the sink.
func (w *walker) walk(root *edit) error {
	src, err := w.base.root(w.ctx)
	if err != nil {
		return err
	}
	return w.node("", src, root)
}

// source is one node of the base or of a spooled stream.
type source struct {
	item Item
	// of the base
	cat    *baseCatalog // that holds the node's children, if loaded
	starts bool         // the node is the root of cat
	nested *catalog.Nested
	from   *baseCatalog // that names nested
	// of a spool: what follows the item in the stream
	stream *cursor
}

// node sends what source and edit make of path. Either may be nil.
func (w *walker) node(path string, src *source, e *edit) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if e == nil {
		return w.unedited(src)
	}
	if e.hide && path != "" {
		src = nil
	}
	if e.spool != nil {
		stream, err := openCursor(e.spool)
		if err != nil {
			return err
		}
		src = stream.node()
	}
	entry, err := e.entry(path, src)
	if err != nil || entry == nil {
		return err
	}
	if !entry.Entry.IsDir() {
		if len(e.below) > 0 {
			return fmt.Errorf("%s: not a directory in the repository: remove it first", path)
		}
		return w.sink.file(entry)
	}
	if src != nil && src.nested != nil {
		if src, err = w.base.enter(w.ctx, src); err != nil {
			return err
		}
	}
	return w.directory(entry, src, e)
}

// entry decides what is at path.
func (e *edit) entry(path string, src *source) (*Item, error) {
	switch {
	case e.item != nil && src != nil && src.item.Entry.IsDir() && !e.item.Entry.IsDir():
		return nil, fmt.Errorf("%s: a directory in the repository: remove it first", path)
	case e.item != nil:
		return e.item, nil
	case src != nil:
		return &src.item, nil
	}
	return e.ensure, nil
}

// unedited sends a node with all that lies below.
func (w *walker) unedited(src *source) error {
	switch {
	case src.nested != nil:
		return w.sink.nested(&src.item, *src.nested, src.from)
	case src.item.Entry.IsDir():
		return w.directory(&src.item, src, nil)
	}
	return w.sink.file(&src.item)
}

// directory sends a directory and its children, those of source and edit
// merged by name.
func (w *walker) directory(it *Item, src *source, e *edit) error {
	var starts *baseCatalog
	if src != nil && src.starts {
		starts = src.cat
	}
	if err := w.sink.dir(it, starts); err != nil {
		return err
	}
	names := e.names()
	edited := func(name string) error {
		return w.node(it.Path+"/"+name, nil, e.below[name])
	}
	if src != nil && src.item.Entry.IsDir() {
		for child, err := range w.children(src) {
			if err != nil {
				return err
			}
			for len(names) > 0 && names[0] < child.item.Entry.Name {
				if err := edited(names[0]); err != nil {
					return err
				}
				names = names[1:]
			}
			var at *edit
			if len(names) > 0 && names[0] == child.item.Entry.Name {
				at, names = e.below[names[0]], names[1:]
			}
			if err := w.node(child.item.Path, child, at); err != nil {
				return err
			}
		}
	}
	for _, name := range names {
		if err := edited(name); err != nil {
			return err
		}
	}
	return w.sink.leave()
}

func (w *walker) children(src *source) iter.Seq2[*source, error] {
	if src.stream != nil {
		return src.stream.children(src.item.Path)
	}
	return w.base.children(w.ctx, src)
}

// cursor reads a spool as a tree. It is at one item; whoever reads on makes it
// the next one's.
type cursor struct {
	r    *spoolReader
	at   Item
	more bool
	err  error
}

func openCursor(s *spool) (*cursor, error) {
	c := &cursor{r: s.reader()}
	c.advance()
	if !c.more {
		return nil, fmt.Errorf("scratch file is empty: %w", c.err)
	}
	return c, nil
}

func (c *cursor) advance() {
	c.at, c.more, c.err = c.r.next()
}

// node takes the present item.
func (c *cursor) node() *source {
	src := &source{item: c.at, stream: c}
	c.advance()
	return src
}

// children yields the items in the directory dir, which was the last one
// taken. What the caller leaves unread of a child is skipped.
func (c *cursor) children(dir string) iter.Seq2[*source, error] {
	return func(yield func(*source, error) bool) {
		for c.more && len(c.at.Path) > len(dir) && below(c.at.Path, dir) {
			if catalog.Parent(c.at.Path) != dir {
				c.advance() // below a child that an edit replaced
				continue
			}
			if !yield(c.node(), nil) {
				return
			}
		}
		if c.err != nil {
			yield(nil, c.err)
		}
	}
}
