package catalog

import (
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/flatrun/flatrun/mount/cas"
)

// Nested names the catalog that takes over at Path.
type Nested struct {
	Path string // absolute, as this catalog sees it
	Hash cas.Hash
	Size int64 // of the SQLite file, -1 where the catalog does not tell
	Bind bool  // a bind mountpoint: the catalog of another place or revision
}

// Nested lists all child catalogs, bind mountpoints last.
func (c *Catalog) Nested() (all []Nested, err error) {
	collect := func(n Nested) { all = append(all, n) }
	err = c.nested(c.layout.nested, false, nil, collect)
	if err == nil {
		err = c.nested(c.layout.bind, true, nil, collect)
	}
	return all, err
}

// NestedAt finds the catalog that takes over at path.
func (c *Catalog) NestedAt(path string) (n Nested, found bool, err error) {
	at := func(s *sqlite.Stmt) { s.BindText(1, path) }
	take := func(row Nested) { n, found = row, true }
	err = c.nested(c.layout.nestedAt, false, at, take)
	if err == nil && !found {
		err = c.nested(c.layout.bound, true, at, take)
	}
	return n, found, err
}

// nested runs one of the layout's queries over a table of catalogs.
func (c *Catalog) nested(sql string, bind bool, args func(*sqlite.Stmt), visit func(Nested)) error {
	if sql == "" {
		return nil
	}
	return c.wrap(c.with(func(k *conn) error {
		return query(k.Conn, sql, args, func(row *sqlite.Stmt) error {
			n, err := scanNested(row)
			n.Bind = bind
			if err == nil {
				visit(n)
			}
			return err
		})
	}))
}

func scanNested(row *sqlite.Stmt) (Nested, error) {
	n := Nested{Path: row.ColumnText(0), Size: row.ColumnInt64(2)}
	var err error
	if n.Hash, err = cas.ParseHash(row.ColumnText(1)); err != nil {
		return n, fmt.Errorf("%w: nested catalog %q: %w", ErrCorrupt, n.Path, err)
	}
	if n.Size == 0 { // unknown to the oldest writers
		n.Size = -1
	}
	if n.Size < -1 || n.Path == "" || Clean(n.Path) != n.Path {
		return n, fmt.Errorf("%w: nested catalog %q of %d bytes", ErrCorrupt, n.Path, n.Size)
	}
	return n, nil
}
