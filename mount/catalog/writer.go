package catalog

import (
	"errors"
	"fmt"
	"os"

	"zombiezen.com/go/sqlite"
)

// The schema that Writer writes.
const (
	schemaVersion  = "2.5"
	schemaRevision = 7
)

// The tables' text is the official tool's: an in-place upgrade of the file
// compares nothing else.
var createTables = []string{
	`CREATE TABLE properties (key TEXT, value TEXT, CONSTRAINT pk_properties PRIMARY KEY (key))`,
	`CREATE TABLE catalog (md5path_1 INTEGER, md5path_2 INTEGER, parent_1 INTEGER, parent_2 INTEGER, hardlinks INTEGER,
 hash BLOB, size INTEGER, mode INTEGER, mtime INTEGER, mtimens INTEGER, flags INTEGER, name TEXT, symlink TEXT,
 uid INTEGER, gid INTEGER, xattr BLOB, CONSTRAINT pk_catalog PRIMARY KEY (md5path_1, md5path_2))`,
	`CREATE TABLE chunks (md5path_1 INTEGER, md5path_2 INTEGER, offset INTEGER, size INTEGER, hash BLOB,
 CONSTRAINT pk_chunks PRIMARY KEY (md5path_1, md5path_2, offset, size),
 FOREIGN KEY (md5path_1, md5path_2) REFERENCES catalog(md5path_1, md5path_2))`,
	`CREATE TABLE nested_catalogs (path TEXT, sha1 TEXT, size INTEGER, CONSTRAINT pk_nested_catalogs PRIMARY KEY (path))`,
	`CREATE TABLE bind_mountpoints (path TEXT, sha1 TEXT, size INTEGER, CONSTRAINT pk_bind_mountpoints PRIMARY KEY (path))`,
	`CREATE TABLE statistics (counter TEXT, value INTEGER, CONSTRAINT pk_statistics PRIMARY KEY (counter))`,
}

// createIndex comes last: filling a table and sorting once is faster than
// keeping the index up to date.
const createIndex = `CREATE INDEX idx_catalog_parent ON catalog (parent_1, parent_2)`

// Writer writes one new catalog. It serves one goroutine.
type Writer struct {
	path, prefix string
	db           *sqlite.Conn
	entry, chunk *sqlite.Stmt
	self         Counters
	err          error // the first one; nothing works after it
}

// Create starts a catalog in the new file path, for the directory whose
// absolute path in the repository is prefix ("" for a root catalog). The file is
// complete when Finish returns, and gone after Abort.
func Create(path, prefix string) (*Writer, error) {
	if Clean(prefix) != prefix {
		return nil, fmt.Errorf("create catalog %s: %q is not a clean absolute path", path, prefix)
	}
	w := &Writer{path: path, prefix: prefix}
	if err := w.create(); err != nil {
		w.Abort()
		return nil, fmt.Errorf("create catalog %s: %w", path, err)
	}
	return w, nil
}

func (w *Writer) create() (err error) {
	if w.db, err = createDatabase(w.path, createTables); err != nil {
		return err
	}
	if w.entry, err = w.db.Prepare("INSERT INTO catalog VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"); err != nil {
		return err
	}
	w.chunk, err = w.db.Prepare("INSERT INTO chunks VALUES (?,?,?,?,?)")
	return err
}

// Add writes one entry and, for a chunked file, its chunks. Row and HasXattrs
// are ignored.
func (w *Writer) Add(e Entry, chunks []Chunk) error {
	if w.err != nil {
		return w.err
	}
	if err := w.add(&e, chunks); err != nil {
		w.err = fmt.Errorf("catalog of %q: entry %q: %w", w.prefix, e.Name, err)
		return w.err
	}
	e.HasXattrs = false
	w.self.AddEntry(&e, len(chunks))
	return nil
}

func (w *Writer) add(e *Entry, chunks []Chunk) error {
	xattrs, err := MarshalXattrs(e.Xattrs)
	if err != nil {
		return err
	}
	if e.Flags&Chunked != 0 {
		if err := checkChunks(chunks, e.Size); err != nil {
			return err
		}
		e.Algorithm = chunks[0].Hash.Algorithm()
	} else if len(chunks) > 0 {
		return errors.New("it has chunks but is not flagged so")
	}
	if !e.Hash.IsZero() {
		e.Algorithm = e.Hash.Algorithm()
	}
	if err := e.check(); err != nil {
		return err
	}
	w.bindEntry(e, xattrs)
	if err := run(w.entry); err != nil {
		return err
	}
	return w.addChunks(e, chunks)
}

func (w *Writer) addChunks(e *Entry, chunks []Chunk) error {
	for _, k := range chunks {
		if k.Hash.Algorithm() != e.Algorithm {
			return fmt.Errorf("chunk at %d is named by %s, the file by %s", k.Offset, k.Hash.Algorithm(), e.Algorithm)
		}
		w.chunk.BindInt64(1, e.Path.A)
		w.chunk.BindInt64(2, e.Path.B)
		w.chunk.BindInt64(3, k.Offset)
		w.chunk.BindInt64(4, k.Size)
		w.chunk.BindBytes(5, k.Hash.Bytes())
		if err := run(w.chunk); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) bindEntry(e *Entry, xattrs []byte) {
	s := w.entry
	for i, v := range []int64{e.Path.A, e.Path.B, e.Parent.A, e.Parent.B,
		int64(e.LinkGroup)<<32 | int64(max(e.LinkCount, 1))} {
		s.BindInt64(i+1, v)
	}
	bindBlob(s, 6, e.Hash.Bytes(), !e.Hash.IsZero())
	s.BindInt64(7, e.Size)
	s.BindInt64(8, int64(e.Mode))
	s.BindInt64(9, e.Mtime)
	if e.MtimeNsec < 0 {
		s.BindNull(10)
	} else {
		s.BindInt64(10, int64(e.MtimeNsec))
	}
	s.BindInt64(11, e.column())
	s.BindText(12, e.Name)
	s.BindText(13, e.Symlink)
	s.BindInt64(14, int64(e.UID))
	s.BindInt64(15, int64(e.GID))
	bindBlob(s, 16, xattrs, xattrs != nil)
}

func bindBlob(s *sqlite.Stmt, param int, b []byte, present bool) {
	if present {
		s.BindBytes(param, b)
	} else {
		s.BindNull(param)
	}
}

// AddNested names a child catalog or bind mountpoint. The directory entry
// flagged accordingly is Added separately.
func (w *Writer) AddNested(n Nested) error {
	if w.err != nil {
		return w.err
	}
	table := "nested_catalogs"
	if n.Bind {
		table = "bind_mountpoints"
	} else {
		w.self.Nested++
	}
	w.err = insert(w.db, "INSERT INTO "+table+" VALUES (?,?,?)", n.Path, n.Hash.String(), n.Size)
	if w.err != nil {
		w.err = fmt.Errorf("catalog of %q: nested catalog %s: %w", w.prefix, n.Path, w.err)
	}
	return w.err
}

// Counters are those of the entries added so far.
func (w *Writer) Counters() Counters { return w.self }

// Finish writes the properties (schema and root prefix are the writer's own) and
// the statistics, whose Self is usually Counters, and closes the file.
func (w *Writer) Finish(p Properties, s Statistics) error {
	err := w.err
	if err == nil {
		err = w.finish(p, s)
	}
	if err != nil {
		w.err = err
		w.Abort() // after which it is another
		return fmt.Errorf("finish catalog of %q: %w", w.prefix, err)
	}
	return nil
}

func (w *Writer) finish(p Properties, stats Statistics) error {
	p.RootPrefix = w.prefix
	for _, row := range p.rows() {
		if err := insert(w.db, "INSERT INTO properties VALUES (?,?)", row[0], row[1]); err != nil {
			return err
		}
	}
	for _, f := range stats.fields() {
		if err := insert(w.db, "INSERT INTO statistics VALUES (?,?)", f.name, *f.value); err != nil {
			return err
		}
	}
	for _, sql := range []string{createIndex, "COMMIT"} {
		if err := execute(w.db, sql); err != nil {
			return err
		}
	}
	db := w.db
	w.db = nil
	return db.Close()
}

// Abort removes the unfinished file; after Finish it does nothing.
func (w *Writer) Abort() {
	if w.db == nil {
		return
	}
	w.db.Close()
	w.db = nil
	w.err = os.ErrClosed
	os.Remove(w.path)
}
