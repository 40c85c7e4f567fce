package catalog

import (
	"fmt"
	"os"
	"slices"

	"zombiezen.com/go/sqlite"

	"github.com/flatrun/flatrun/mount/cas"
)

// RefType is the kind of object a reflog row names.
type RefType int

// The kinds of the reflog.
const (
	RefCatalog     RefType = 0 // root catalogs only
	RefCertificate RefType = 1
	RefHistory     RefType = 2
	RefMetainfo    RefType = 3
)

// Ref is one row of a reflog.
type Ref struct {
	Hash      cas.Hash
	Type      RefType
	Timestamp int64 // seconds since 1970
}

// Reflog lists everything that was ever the head of a repository and is not yet
// collected; garbage collection starts from it.
type Reflog struct {
	FQRN string
	Refs []Ref
}

// Add notes an object, once.
func (r *Reflog) Add(ref Ref) {
	if !slices.ContainsFunc(r.Refs, func(o Ref) bool { return o.Hash == ref.Hash }) {
		r.Refs = append(r.Refs, ref)
	}
}

// ReadReflog reads a reflog database; the file stays the caller's.
func ReadReflog(f *os.File) (*Reflog, error) {
	r := &Reflog{}
	err := readDatabase(f, func(db *sqlite.Conn) error {
		err := query(db, "SELECT value FROM properties WHERE key = 'fqrn'", nil, func(row *sqlite.Stmt) error {
			r.FQRN = row.ColumnText(0)
			return nil
		})
		if err != nil {
			return err
		}
		return query(db, "SELECT hash, type, timestamp FROM refs ORDER BY rowid", nil, func(row *sqlite.Stmt) error {
			h, err := cas.ParseHash(row.ColumnText(0))
			if err != nil {
				return fmt.Errorf("%w: %w", ErrCorrupt, err)
			}
			r.Refs = append(r.Refs, Ref{h, RefType(row.ColumnInt64(1)), row.ColumnInt64(2)})
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reflog %s: %w", f.Name(), err)
	}
	return r, nil
}

var createReflog = []string{
	`CREATE TABLE properties (key TEXT, value TEXT, CONSTRAINT pk_properties PRIMARY KEY (key))`,
	`CREATE TABLE refs (hash TEXT, type INTEGER, timestamp INTEGER, CONSTRAINT pk_refs PRIMARY KEY (hash))`,
	`INSERT INTO properties VALUES ('schema', '1.0'), ('schema_revision', '0')`,
}

// WriteReflog writes r to the new file path.
func WriteReflog(path string, r *Reflog) error {
	err := writeDatabase(path, createReflog, func(db *sqlite.Conn) error {
		if err := insert(db, "INSERT INTO properties VALUES ('fqrn', ?)", r.FQRN); err != nil {
			return err
		}
		for _, ref := range r.Refs {
			if err := insert(db, "INSERT INTO refs VALUES (?,?,?)", ref.Hash.String(), int64(ref.Type), ref.Timestamp); err != nil {
				return fmt.Errorf("%s: %w", ref.Hash, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write reflog %s: %w", path, err)
	}
	return nil
}
