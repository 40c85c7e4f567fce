// Package catalog reads and writes the SQLite catalogs, and the two small
// databases beside them: history and reflog.
//
// A catalog describes the entries of one subtree of a repository. Where another
// catalog takes over, the parent holds a directory flagged NestedMount and a row
// in its table of nested catalogs; the child holds its own copy of that
// directory, flagged NestedRoot. All paths in a catalog are absolute, and
// entries are found by the MD5 of their path.
//
// Catalogs of every schema since 1.0 are read; columns and tables that an older
// one lacks read as absent values. Written is schema 2.5, revision 7.
package catalog

import (
	"fmt"
	"os"
	"strings"

	"zombiezen.com/go/sqlite"
)

// Catalog is one catalog, safe for concurrent use. It holds no resources but
// memory: descriptors and pages belong to the connections in its pool, which are
// opened again when needed.
type Catalog struct {
	name   string
	pool   *Pool
	open   func() (*os.File, error)
	layout *layout
	props  Properties
	root   Entry
}

// Open reads the catalog called name (for messages). The function open opens
// its verified bytes; it is called now and whenever a connection is needed, from
// any goroutine. A catalog so old that it does not tell where it is mounted is
// taken to be at prefix.
func (p *Pool) Open(name, prefix string, open func() (*os.File, error)) (*Catalog, error) {
	c := &Catalog{name: name, pool: p, open: open}
	return c, c.load(prefix)
}

// load reads what stays the same for all queries and finds the root entry.
func (c *Catalog) load(prefix string) error {
	k, err := connect(c)
	if err == nil {
		if err = c.inspect(k, prefix); err != nil {
			k.discard()
		} else {
			c.pool.keep(k)
			err = c.findRoot()
		}
	}
	return c.wrap(err)
}

func (c *Catalog) inspect(k *conn, prefix string) error {
	s, err := readSchema(k.Conn)
	if err != nil {
		return err
	}
	c.layout = c.pool.layout(s)
	c.props = Properties{Schema: "1.0", RootPrefix: prefix}
	if s.has("properties") {
		if err := c.props.read(k.Conn); err != nil {
			return err
		}
	}
	return k.prepare(c.layout)
}

func (c *Catalog) findRoot() error {
	root, found, err := c.Lookup(HashPath(c.props.RootPrefix))
	if err != nil {
		return err
	}
	if !found || !root.IsDir() {
		return fmt.Errorf("%w: no directory at its root %q", ErrCorrupt, c.props.RootPrefix)
	}
	c.root = root
	return nil
}

// Root is the entry of the directory the catalog describes.
func (c *Catalog) Root() Entry { return c.root }

// Prefix is the path the catalog's entries start with: "" for a repository's
// root catalog.
func (c *Catalog) Prefix() string { return c.props.RootPrefix }

// Properties are what the catalog says about itself.
func (c *Catalog) Properties() (Properties, error) { return c.props, nil }

// Name is the catalog's, for messages.
func (c *Catalog) Name() string { return c.name }

// acquire takes a connection from the pool or opens one; pool.keep ends its use.
func (c *Catalog) acquire() (*conn, error) {
	if k := c.pool.take(c); k != nil {
		return k, nil
	}
	k, err := connect(c)
	if err != nil {
		return nil, c.wrap(err)
	}
	if err := k.prepare(c.layout); err != nil {
		k.discard()
		return nil, c.wrap(err)
	}
	return k, nil
}

// corrupt marks what SQLite says about a file's structure as our sentinel.
func corrupt(err error) error {
	if err == nil {
		return nil
	}
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultCorrupt, sqlite.ResultNotADB, sqlite.ResultError, sqlite.ResultFormat:
		return fmt.Errorf("%w: %s", ErrCorrupt, strings.TrimPrefix(err.Error(), "sqlite: "))
	}
	return err
}

func (c *Catalog) wrap(err error) error {
	if err == nil || strings.HasPrefix(err.Error(), "catalog ") {
		return err
	}
	return fmt.Errorf("catalog %s: %w", c.name, err)
}
