// Package catalog reads and writes the SQLite catalogs.
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
	"sync"

	"zombiezen.com/go/sqlite"
)

// Catalog is one open catalog, safe for concurrent use. It holds a descriptor;
// its connections belong to a pool.
type Catalog struct {
	file    *os.File
	uri     string
	pool    *Pool
	schema  schema
	props   Properties
	root    Entry
	queries queries

	mu     sync.Mutex
	refs   int // the owner's, and one a connection
	closed bool
}

// Open reads a catalog from f, whose bytes the caller has verified, with a pool
// of its own. It takes f over, also when it fails.
func Open(f *os.File) (*Catalog, error) { return (&Pool{Max: 4}).Open(f) }

// Open reads a catalog whose connections share the pool's bound.
func (p *Pool) Open(f *os.File) (*Catalog, error) {
	c := &Catalog{file: f, pool: p, refs: 1}
	if err := c.load(); err != nil {
		c.Close()
		return nil, fmt.Errorf("catalog %s: %w", f.Name(), err)
	}
	return c, nil
}

// load reads what stays the same for all queries and finds the root entry.
func (c *Catalog) load() error {
	var err error
	if c.uri, err = uri(c.file.Fd()); err != nil {
		return err
	}
	k, err := c.connect()
	if err != nil {
		return err
	}
	if c.schema, err = readSchema(k.Conn); err == nil {
		c.queries = c.schema.queries()
		c.props, err = readProperties(k.Conn, c.schema)
	}
	if err == nil {
		err = k.prepare()
	}
	if err != nil {
		k.discard()
		return err
	}
	c.pool.keep(k)
	return c.findRoot()
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

// Close gives the descriptor back once running queries have ended. Later
// queries fail.
func (c *Catalog) Close() error {
	c.mu.Lock()
	again := c.closed
	c.closed = true
	c.mu.Unlock()
	if again {
		return nil
	}
	c.pool.drop(c)
	return c.release()
}

// Name is the file's, for messages.
func (c *Catalog) Name() string { return c.file.Name() }

// acquire takes a connection from the pool or opens one.
func (c *Catalog) acquire() (*conn, error) {
	if k := c.pool.take(c); k != nil {
		return k, nil
	}
	k, err := c.connect()
	if err != nil {
		return nil, err
	}
	if err := k.prepare(); err != nil {
		k.discard()
		return nil, err
	}
	return k, nil
}

// yield ends the use of a connection.
func (c *Catalog) yield(k *conn) {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		k.discard()
		return
	}
	c.pool.keep(k)
}

func (c *Catalog) connect() (*conn, error) {
	if err := c.retain(); err != nil {
		return nil, err
	}
	db, err := sqlite.OpenConn(c.uri, sqlite.OpenReadOnly|sqlite.OpenURI)
	if err != nil {
		c.release()
		return nil, corrupt(err)
	}
	k := &conn{Conn: db, cat: c}
	// cell_size_check finds pages that lie about their rows before they are
	// used, trusted_schema keeps views and triggers of the file from running.
	for _, pragma := range []string{"cache_size=-2048", "cell_size_check=1", "trusted_schema=0", "temp_store=2"} {
		if err := execute(db, "PRAGMA "+pragma); err != nil {
			k.discard()
			return nil, corrupt(err)
		}
	}
	return k, nil
}

func (c *Catalog) retain() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return fmt.Errorf("catalog %s: %w", c.file.Name(), os.ErrClosed)
	}
	c.refs++
	return nil
}

func (c *Catalog) release() error {
	c.mu.Lock()
	c.refs--
	last := c.refs == 0
	c.mu.Unlock()
	if !last {
		return nil
	}
	return c.file.Close()
}

// prepare compiles the three statements that every look-up runs.
func (k *conn) prepare() (err error) {
	for _, s := range []struct {
		to  **sqlite.Stmt
		sql string
	}{{&k.byPath, k.cat.queries.byPath}, {&k.byRow, k.cat.queries.byRow}, {&k.listing, k.cat.queries.listing}} {
		if *s.to, err = k.Prepare(s.sql); err != nil {
			return corrupt(err)
		}
	}
	return nil
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

// execute runs a statement for its effect.
func execute(db *sqlite.Conn, sql string) error {
	stmt, _, err := db.PrepareTransient(sql)
	if err != nil {
		return err
	}
	defer stmt.Finalize()
	for more := true; more && err == nil; {
		more, err = stmt.Step()
	}
	return err
}
