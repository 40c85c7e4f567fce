package catalog

import (
	"fmt"
	"slices"
	"strings"

	"zombiezen.com/go/sqlite"
)

// schema is the set of columns that a catalog has, by table.
type schema map[string]map[string]bool

// tables are those the reader looks at. Nothing of a file's own text enters a
// statement: only these names and the columns asked for below.
var tables = []string{"catalog", "chunks", "nested_catalogs", "bind_mountpoints", "properties", "statistics"}

// readSchema looks at the columns rather than at the schema's number: the
// revisions differ in nothing else, and a file cannot be wrong about them.
func readSchema(db *sqlite.Conn) (schema, error) {
	s := schema{}
	for _, table := range tables {
		columns, err := readColumns(db, table)
		if err != nil {
			return nil, err
		}
		s[table] = columns
	}
	for table, columns := range map[string][]string{
		"catalog":         {"md5path_1", "md5path_2", "parent_1", "parent_2", "hash", "size", "mode", "mtime", "flags", "name", "symlink"},
		"chunks":          {"md5path_1", "md5path_2", "offset", "size", "hash"},
		"nested_catalogs": {"path", "sha1"}, "bind_mountpoints": {"path", "sha1"},
		"properties": {"key", "value"}, "statistics": {"counter", "value"},
	} {
		for _, column := range columns {
			if !s[table][column] && (s.has(table) || table == "catalog") {
				return nil, fmt.Errorf("%w: table %s has no column %s", ErrCorrupt, table, column)
			}
		}
	}
	return s, nil
}

// readColumns lists the columns of a table; a view of that name does not count.
func readColumns(db *sqlite.Conn, table string) (map[string]bool, error) {
	columns := map[string]bool{}
	stmt, _, err := db.PrepareTransient("SELECT name FROM pragma_table_info('" + table + "') WHERE EXISTS" +
		" (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '" + table + "')")
	if err != nil {
		return nil, corrupt(err)
	}
	defer stmt.Finalize()
	return columns, each(stmt, func(row *sqlite.Stmt) error {
		columns[row.ColumnText(0)] = true
		return nil
	})
}

func (s schema) has(table string) bool { return len(s[table]) > 0 }

// or names the column where the table has it, else a constant for all rows.
func (s schema) or(table, column, constant string) string {
	if s[table][column] {
		return column
	}
	return constant
}

// String lists all columns, sorted: equal schemas, equal strings.
func (s schema) String() string {
	var all []string
	for table, columns := range s {
		for column := range columns {
			all = append(all, table+"."+column)
		}
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

// layout is the text of all queries for one schema. Queries of absent tables
// are empty.
type layout struct {
	byPath, byRow, listing        string
	xattr, first                  string
	chunks, statistics            string
	nested, nestedAt, bind, bound string
}

// layout answers the queries for s; the catalogs of a pool share them.
func (p *Pool) layout(s schema) *layout {
	key := s.String()
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.layouts[key]
	if l == nil {
		if p.layouts == nil {
			p.layouts = map[string]*layout{}
		}
		l = s.layout()
		p.layouts[key] = l
	}
	return l
}

func (s schema) layout() *layout {
	entry := "SELECT " + s.entryColumns() + " FROM catalog WHERE "
	l := &layout{
		byPath:  entry + "md5path_1 = ? AND md5path_2 = ?",
		byRow:   entry + "rowid = ?",
		listing: entry + "parent_1 = ? AND parent_2 = ? ORDER BY rowid",
		xattr:   "SELECT " + s.or("catalog", "xattr", "NULL") + " FROM catalog WHERE rowid = ?",
		first: "SELECT min(rowid) FROM catalog WHERE parent_1 = ? AND parent_2 = ? AND " +
			s.or("catalog", "hardlinks", "1") + " >> 32 = ?",
	}
	if s.has("chunks") {
		l.chunks = "SELECT offset, size, hash FROM chunks WHERE md5path_1 = ? AND md5path_2 = ? ORDER BY offset, size"
	}
	if s.has("statistics") {
		l.statistics = "SELECT counter, value FROM statistics"
	}
	if s.has("nested_catalogs") {
		l.nested = "SELECT path, sha1, " + s.or("nested_catalogs", "size", "NULL") + " FROM nested_catalogs"
		l.nestedAt = l.nested + " WHERE path = ?"
	}
	if s.has("bind_mountpoints") {
		l.bind = "SELECT path, sha1, " + s.or("bind_mountpoints", "size", "NULL") + " FROM bind_mountpoints"
		l.bound = l.bind + " WHERE path = ?"
	}
	return l
}

// entryColumns are in the order in which scan reads them.
func (s schema) entryColumns() string {
	c := func(column, constant string) string { return s.or("catalog", column, constant) }
	return strings.Join([]string{"rowid", "md5path_1", "md5path_2", "parent_1", "parent_2", "name", "symlink", "hash",
		"size", "mode", "mtime", c("mtimens", "NULL"), "flags", c("uid", "0"), c("gid", "0"), c("hardlinks", "1"),
		"length(" + c("xattr", "NULL") + ")"}, ", ")
}

// query runs a statement of db, calling visit for each row.
func query(db *sqlite.Conn, sql string, bind func(*sqlite.Stmt), visit func(*sqlite.Stmt) error) error {
	stmt, err := db.Prepare(sql)
	if err != nil {
		return corrupt(err)
	}
	if bind != nil {
		bind(stmt)
	}
	return each(stmt, visit)
}

// each steps through a bound statement and resets it.
func each(stmt *sqlite.Stmt, visit func(*sqlite.Stmt) error) error {
	defer stmt.Reset()
	for {
		more, err := stmt.Step()
		if err != nil || !more {
			return corrupt(err)
		}
		if err := visit(stmt); err != nil {
			return err
		}
	}
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
