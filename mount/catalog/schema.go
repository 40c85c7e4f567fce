package catalog

import (
	"fmt"
	"strings"

	"zombiezen.com/go/sqlite"
)

// schema is the set of columns that a catalog has, by table.
type schema map[string]map[string]bool

// columns lists what the reader asks of each table. Only tables and columns
// named here are looked at, so nothing of a file's own text enters a statement.
var tables = []string{"catalog", "chunks", "nested_catalogs", "bind_mountpoints", "properties", "statistics"}

// readSchema looks at the columns rather than at the schema's number: the
// revisions differ in nothing else, and the file cannot be wrong about them.
func readSchema(db *sqlite.Conn) (schema, error) {
	s := schema{}
	for _, table := range tables {
		columns := map[string]bool{}
		err := query(db, "SELECT name FROM pragma_table_info('"+table+"') WHERE EXISTS"+
			" (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '"+table+"')", nil,
			func(row *sqlite.Stmt) error {
				columns[row.ColumnText(0)] = true
				return nil
			})
		if err != nil {
			return nil, err
		}
		s[table] = columns
	}
	return s, s.require("catalog", "md5path_1", "md5path_2", "parent_1", "parent_2", "hash", "size", "mode", "mtime",
		"flags", "name", "symlink")
}

func (s schema) require(table string, columns ...string) error {
	for _, c := range columns {
		if !s[table][c] {
			return fmt.Errorf("%w: table %s has no column %s", ErrCorrupt, table, c)
		}
	}
	return nil
}

func (s schema) has(table string) bool { return len(s[table]) > 0 }

// or names the column where the table has it, else a constant for all rows.
func (s schema) or(table, column, constant string) string {
	if s[table][column] {
		return column
	}
	return constant
}

// queries are the statements for one schema.
type queries struct{ byPath, byRow, listing, xattr, first string }

// entryColumns is the order in which scan reads them.
func (s schema) entryColumns() string {
	c := func(column, constant string) string { return s.or("catalog", column, constant) }
	return strings.Join([]string{"rowid", "md5path_1", "md5path_2", "parent_1", "parent_2", "name", "symlink", "hash",
		"size", "mode", "mtime", c("mtimens", "NULL"), "flags", c("uid", "0"), c("gid", "0"), c("hardlinks", "1"),
		"length(" + c("xattr", "NULL") + ")"}, ", ")
}

func (s schema) queries() queries {
	entry := "SELECT " + s.entryColumns() + " FROM catalog WHERE "
	return queries{
		byPath:  entry + "md5path_1 = ? AND md5path_2 = ?",
		byRow:   entry + "rowid = ?",
		listing: entry + "parent_1 = ? AND parent_2 = ? ORDER BY rowid",
		xattr:   "SELECT " + s.or("catalog", "xattr", "NULL") + " FROM catalog WHERE rowid = ?",
		first: "SELECT min(rowid) FROM catalog WHERE parent_1 = ? AND parent_2 = ? AND " +
			s.or("catalog", "hardlinks", "1") + " >> 32 = ?",
	}
}

// query runs a statement, calling visit for each row.
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
