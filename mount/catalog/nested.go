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
	err = c.nested("", nil, func(n Nested) { all = append(all, n) })
	return all, err
}

// NestedAt finds the catalog that takes over at path.
func (c *Catalog) NestedAt(path string) (n Nested, found bool, err error) {
	err = c.nested(" WHERE path = ?", func(s *sqlite.Stmt) { s.BindText(1, path) }, func(row Nested) { n, found = row, true })
	return n, found, err
}

func (c *Catalog) nested(where string, bind func(*sqlite.Stmt), visit func(Nested)) error {
	return c.wrap(c.with(func(k *conn) error {
		for _, table := range []string{"nested_catalogs", "bind_mountpoints"} {
			if !c.schema.has(table) {
				continue
			}
			sql := "SELECT path, sha1, " + c.schema.or(table, "size", "-1") + " FROM " + table + where
			err := query(k.Conn, sql, bind, func(row *sqlite.Stmt) error {
				n, err := scanNested(row)
				n.Bind = table == "bind_mountpoints"
				if err == nil {
					visit(n)
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	}))
}

func scanNested(row *sqlite.Stmt) (Nested, error) {
	n := Nested{Path: row.ColumnText(0), Size: row.ColumnInt64(2)}
	var err error
	if n.Hash, err = cas.ParseHash(row.ColumnText(1)); err != nil {
		return n, fmt.Errorf("%w: nested catalog %q: %w", ErrCorrupt, n.Path, err)
	}
	if n.Size == 0 && row.ColumnType(2) == sqlite.TypeNull {
		n.Size = -1
	}
	if n.Size < -1 || n.Size == 0 || n.Path == "" || Clean(n.Path) != n.Path {
		return n, fmt.Errorf("%w: nested catalog %q of %d bytes", ErrCorrupt, n.Path, n.Size)
	}
	return n, nil
}
