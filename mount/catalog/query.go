package catalog

import (
	"errors"
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/flatrun/flatrun/mount/cas"
)

// with runs fn on a connection and names the catalog in its error.
func (c *Catalog) with(fn func(*conn) error) error {
	k, err := c.acquire()
	if err != nil {
		return err
	}
	err = fn(k)
	c.pool.keep(k)
	return err
}

// Lookup finds the entry with the path hash p.
func (c *Catalog) Lookup(p PathHash) (Entry, bool, error) {
	k, err := c.acquire()
	if err != nil {
		return Entry{}, false, err
	}
	defer c.pool.keep(k)
	k.byPath.BindInt64(1, p.A)
	k.byPath.BindInt64(2, p.B)
	return c.one(k.byPath)
}

// Row finds the entry with the row id row.
func (c *Catalog) Row(row int64) (Entry, bool, error) {
	k, err := c.acquire()
	if err != nil {
		return Entry{}, false, err
	}
	defer c.pool.keep(k)
	k.byRow.BindInt64(1, row)
	return c.one(k.byRow)
}

// one reads the only row of a bound statement.
func (c *Catalog) one(stmt *sqlite.Stmt) (Entry, bool, error) {
	defer stmt.Reset()
	found, err := stmt.Step()
	if err != nil || !found {
		return Entry{}, false, c.wrap(corrupt(err))
	}
	e, err := c.scan(stmt)
	return e, err == nil, err
}

// List calls visit for each entry of the directory with the path hash parent,
// in the order of rows, hidden ones included. An error of visit ends it.
func (c *Catalog) List(parent PathHash, visit func(Entry) error) error {
	k, err := c.acquire()
	if err != nil {
		return err
	}
	defer c.pool.keep(k)
	k.listing.BindInt64(1, parent.A)
	k.listing.BindInt64(2, parent.B)
	var stop error // visit's own, which is not about the catalog
	err = each(k.listing, func(row *sqlite.Stmt) error {
		e, err := c.scan(row)
		if err == nil {
			stop = visit(e)
			err = stop
		}
		return err
	})
	if stop != nil {
		return stop
	}
	return c.wrap(err)
}

// scan reads a row in the order of entryColumns.
func (c *Catalog) scan(row *sqlite.Stmt) (Entry, error) {
	e := Entry{
		Row:       row.ColumnInt64(0),
		Path:      PathHash{row.ColumnInt64(1), row.ColumnInt64(2)},
		Parent:    PathHash{row.ColumnInt64(3), row.ColumnInt64(4)},
		Name:      row.ColumnText(5),
		Size:      row.ColumnInt64(8),
		Mode:      uint32(row.ColumnInt64(9)),
		Mtime:     row.ColumnInt64(10),
		MtimeNsec: -1,
		UID:       uint32(row.ColumnInt64(13)),
		GID:       uint32(row.ColumnInt64(14)),
	}
	if row.ColumnLen(6) > 0 {
		e.Symlink = row.ColumnText(6)
	}
	if row.ColumnType(11) == sqlite.TypeInteger {
		e.MtimeNsec = int32(min(max(row.ColumnInt64(11), -2), 1e9)) // check refuses what was cut
	}
	links := uint64(row.ColumnInt64(15))
	e.LinkCount, e.LinkGroup = max(uint32(links), 1), uint32(links>>32)
	e.HasXattrs = row.ColumnInt64(16) > 0
	err := e.setColumn(row.ColumnInt64(12))
	if err == nil {
		e.Hash, err = columnHash(row, 7, e.Algorithm)
	}
	if err == nil {
		err = e.check()
	}
	if err == nil && e.Name == "" && e.Path != HashPath("") {
		err = errors.New("it has no name")
	}
	if err != nil {
		return Entry{}, fmt.Errorf("catalog %s: %w: entry %q (row %d): %w", c.name, ErrCorrupt, e.Name, e.Row, err)
	}
	return e, nil
}

const digestSize = 20

// columnHash reads a digest; NULL and an empty blob are the zero hash.
func columnHash(row *sqlite.Stmt, column int, a cas.Algorithm) (cas.Hash, error) {
	var digest [digestSize]byte
	switch n := row.ColumnLen(column); n {
	case 0:
		return cas.Hash{}, nil
	case digestSize:
		row.ColumnBytes(column, digest[:])
		return cas.NewHash(a, digest[:])
	default:
		return cas.Hash{}, fmt.Errorf("digest has %d bytes in place of %d", n, digestSize)
	}
}

// Xattrs reads the attributes of the entry at row.
func (c *Catalog) Xattrs(row int64) (attrs map[string][]byte, err error) {
	err = c.with(func(k *conn) error {
		return query(k.Conn, c.layout.xattr, func(s *sqlite.Stmt) { s.BindInt64(1, row) }, func(s *sqlite.Stmt) error {
			blob := make([]byte, s.ColumnLen(0))
			s.ColumnBytes(0, blob)
			attrs, err = ParseXattrs(blob)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("catalog %s: %w: row %d: %w", c.name, ErrCorrupt, row, err)
	}
	return attrs, nil
}

// Rows counts the entries of the catalog, those included that no directory
// leads to.
func (c *Catalog) Rows() (n int64, err error) {
	err = c.with(func(k *conn) error {
		return query(k.Conn, "SELECT count(*) FROM catalog", nil, func(s *sqlite.Stmt) error {
			n = s.ColumnInt64(0)
			return nil
		})
	})
	return n, c.wrap(err)
}

// GroupFirst is the lowest row of the hard-link group in the directory parent:
// the identity that all its members share.
func (c *Catalog) GroupFirst(parent PathHash, group uint32) (row int64, err error) {
	err = c.with(func(k *conn) error {
		return query(k.Conn, c.layout.first, func(s *sqlite.Stmt) {
			s.BindInt64(1, parent.A)
			s.BindInt64(2, parent.B)
			s.BindInt64(3, int64(group))
		}, func(s *sqlite.Stmt) error {
			row = s.ColumnInt64(0)
			return nil
		})
	})
	if err == nil && row <= 0 {
		err = fmt.Errorf("%w: hard-link group %d has no members", ErrCorrupt, group)
	}
	return row, c.wrap(err)
}

// Path is the absolute path of e within the repository, found by walking up its
// parents to the catalog's root.
func (c *Catalog) Path(e Entry) (string, error) {
	below := ""
	// A path has at most 2048 components (PATH_MAX); more is a loop.
	for range 2048 {
		if e.Path == c.root.Path {
			return c.Prefix() + below, nil
		}
		below = "/" + e.Name + below
		parent, found, err := c.Lookup(e.Parent)
		if err != nil {
			return "", err
		}
		if !found {
			return "", fmt.Errorf("catalog %s: %w: entry %q (row %d) has no parent", c.name, ErrCorrupt, e.Name, e.Row)
		}
		e = parent
	}
	return "", fmt.Errorf("catalog %s: %w: directories form a loop at %q", c.name, ErrCorrupt, e.Name)
}
