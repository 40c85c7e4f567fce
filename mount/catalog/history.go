package catalog

import (
	"fmt"
	"os"
	"strings"

	"zombiezen.com/go/sqlite"

	"github.com/flatrun/flatrun/mount/cas"
)

// Tag names a revision of a repository.
type Tag struct {
	Name        string   `json:"name"`
	Hash        cas.Hash `json:"root"`      // of the root catalog
	Size        int64    `json:"root_size"` // of the root catalog, -1 unknown
	Revision    uint64   `json:"revision"`
	Timestamp   int64    `json:"timestamp"` // seconds since 1970
	Description string   `json:"description"`
	Branch      string   `json:"branch"` // "" for the main one
}

// Branch is a line of revisions beside the main one.
type Branch struct {
	Name, Parent    string
	InitialRevision uint64
}

// History is the content of a history database.
type History struct {
	FQRN     string
	Previous cas.Hash // of the history database before this one
	Tags     []Tag    // sorted by revision, then by name
	Branches []Branch // without the main one
}

// Find answers the tag called name.
func (h *History) Find(name string) (Tag, bool) {
	for _, t := range h.Tags {
		if t.Name == name {
			return t, true
		}
	}
	return Tag{}, false
}

// Numbered answers a tag of revision n, one of the main branch if there is one.
func (h *History) Numbered(n uint64) (numbered Tag, found bool) {
	for _, t := range h.Tags {
		if t.Revision == n && (!found || t.Branch == "" && numbered.Branch != "") {
			numbered, found = t, true
		}
	}
	return numbered, found
}

// At answers the newest revision of the main branch at the time t, in seconds
// since 1970.
func (h *History) At(t int64) (newest Tag, found bool) {
	for _, tag := range h.Tags {
		if tag.Branch == "" && tag.Timestamp <= t && (!found || tag.Revision >= newest.Revision) {
			newest, found = tag, true
		}
	}
	return newest, found
}

// Set adds the tag, in place of one with the same name.
func (h *History) Set(t Tag) {
	h.Remove(t.Name)
	h.Tags = append(h.Tags, t)
}

// Remove deletes the tag called name and tells whether there was one.
func (h *History) Remove(name string) bool {
	for i, t := range h.Tags {
		if t.Name == name {
			h.Tags = append(h.Tags[:i:i], h.Tags[i+1:]...)
			return true
		}
	}
	return false
}

// ReadHistory reads a history database, whose bytes the caller has verified.
// The file stays the caller's.
func ReadHistory(f *os.File) (*History, error) {
	h := &History{}
	err := readDatabase(f, func(db *sqlite.Conn) error {
		columns, err := readColumns(db, "tags")
		if err != nil {
			return err
		}
		if err := h.readProperties(db); err != nil {
			return err
		}
		if err := h.readTags(db, schema{"tags": columns}); err != nil {
			return err
		}
		return h.readBranches(db)
	})
	if err != nil {
		return nil, fmt.Errorf("history %s: %w", f.Name(), err)
	}
	return h, nil
}

func (h *History) readProperties(db *sqlite.Conn) error {
	return query(db, "SELECT key, value FROM properties", nil, func(row *sqlite.Stmt) (err error) {
		switch value := row.ColumnText(1); row.ColumnText(0) {
		case "fqrn":
			h.FQRN = value
		case "previous_revision":
			if value != "" {
				h.Previous, err = cas.ParseHash(value)
			}
		}
		if err != nil {
			err = fmt.Errorf("%w: previous revision: %w", ErrCorrupt, err)
		}
		return err
	})
}

func (h *History) readTags(db *sqlite.Conn, s schema) error {
	sql := "SELECT name, hash, revision, timestamp, description, " + s.or("tags", "size", "0") + ", " +
		s.or("tags", "branch", "''") + " FROM tags ORDER BY revision, name"
	return query(db, sql, nil, func(row *sqlite.Stmt) (err error) {
		t := Tag{Name: row.ColumnText(0), Revision: uint64(row.ColumnInt64(2)), Timestamp: row.ColumnInt64(3),
			Description: row.ColumnText(4), Size: row.ColumnInt64(5), Branch: row.ColumnText(6)}
		if t.Size <= 0 {
			t.Size = -1
		}
		if t.Hash, err = cas.ParseHash(row.ColumnText(1)); err != nil {
			return fmt.Errorf("%w: tag %q: %w", ErrCorrupt, t.Name, err)
		}
		h.Tags = append(h.Tags, t)
		return nil
	})
}

func (h *History) readBranches(db *sqlite.Conn) error {
	columns, err := readColumns(db, "branches")
	if err != nil || len(columns) == 0 {
		return err
	}
	return query(db, "SELECT branch, parent, initial_revision FROM branches WHERE branch <> '' ORDER BY branch", nil,
		func(row *sqlite.Stmt) error {
			h.Branches = append(h.Branches, Branch{row.ColumnText(0), row.ColumnText(1), uint64(row.ColumnInt64(2))})
			return nil
		})
}

var createHistory = []string{
	`CREATE TABLE properties (key TEXT, value TEXT, CONSTRAINT pk_properties PRIMARY KEY (key))`,
	`CREATE TABLE branches (branch TEXT, parent TEXT, initial_revision INTEGER, CONSTRAINT pk_branch PRIMARY KEY (branch),
 FOREIGN KEY (parent) REFERENCES branches (branch), CHECK ((branch <> '') OR (parent IS NULL)),
 CHECK ((branch = '') OR (parent IS NOT NULL)))`,
	`CREATE TABLE tags (name TEXT, hash TEXT, revision INTEGER, timestamp INTEGER, channel INTEGER, description TEXT,
 size INTEGER, branch TEXT, CONSTRAINT pk_tags PRIMARY KEY (name), FOREIGN KEY (branch) REFERENCES branches (branch))`,
	`CREATE TABLE recycle_bin (hash TEXT, flags INTEGER, CONSTRAINT pk_hash PRIMARY KEY (hash))`,
	`INSERT INTO branches VALUES ('', NULL, 0)`,
	`INSERT INTO properties VALUES ('schema', '1.0'), ('schema_revision', '3')`,
}

// WriteHistory writes h to the new file path.
func WriteHistory(path string, h *History) error {
	err := writeDatabase(path, createHistory, func(db *sqlite.Conn) error {
		if err := insert(db, "INSERT INTO properties VALUES ('fqrn', ?)", h.FQRN); err != nil {
			return err
		}
		if !h.Previous.IsZero() {
			if err := insert(db, "INSERT INTO properties VALUES ('previous_revision', ?)", h.Previous.String()); err != nil {
				return err
			}
		}
		for _, b := range h.Branches {
			if err := insert(db, "INSERT INTO branches VALUES (?,?,?)", b.Name, b.Parent, int64(b.InitialRevision)); err != nil {
				return fmt.Errorf("branch %q: %w", b.Name, err)
			}
		}
		for _, t := range h.Tags {
			err := insert(db, "INSERT INTO tags VALUES (?,?,?,?,0,?,?,?)", t.Name, t.Hash.String(), int64(t.Revision),
				t.Timestamp, t.Description, max(t.Size, 0), t.Branch)
			if err != nil {
				return fmt.Errorf("tag %q: %w", t.Name, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write history %s: %w", strings.TrimSpace(path), err)
	}
	return nil
}
