package catalog

import (
	"fmt"
	"strconv"
	"strings"

	"zombiezen.com/go/sqlite"

	"github.com/flatrun/flatrun/mount/cas"
)

// Properties are what a catalog says about itself. Absent ones are zero.
type Properties struct {
	Schema         string // "1.0" in the oldest, which do not tell
	SchemaRevision int
	Revision       uint64
	LastModified   int64    // seconds since 1970
	Previous       cas.Hash // the same directory's catalog one revision earlier
	RootPrefix     string   // absolute path the catalog is mounted at, "" for a root catalog
	TTL            int64    // seconds; root catalogs only
	Volatile       bool
	Authz          string // "<helper>%<membership>", root catalogs only
	Branch         string
}

// read sets what the table holds.
func (p *Properties) read(db *sqlite.Conn) error {
	err := query(db, "SELECT key, value FROM properties", nil, func(row *sqlite.Stmt) error {
		return p.set(row.ColumnText(0), row.ColumnText(1))
	})
	if err == nil && Clean(p.RootPrefix) != p.RootPrefix {
		err = fmt.Errorf("%w: root prefix %q is not a clean absolute path", ErrCorrupt, p.RootPrefix)
	}
	return err
}

// set takes one row; keys that mean nothing to a reader are passed over.
func (p *Properties) set(key, value string) (err error) {
	switch key {
	case "schema":
		p.Schema = value
	case "schema_revision":
		p.SchemaRevision, err = strconv.Atoi(value)
	case "revision":
		p.Revision, err = strconv.ParseUint(value, 10, 64)
	case "last_modified":
		p.LastModified, err = strconv.ParseInt(value, 10, 64)
	case "previous_revision":
		if value != "" {
			p.Previous, err = cas.ParseHash(value)
		}
	case "root_prefix":
		p.RootPrefix = value
	case "TTL":
		p.TTL, err = strconv.ParseInt(value, 10, 64)
	case "volatile":
		p.Volatile = value != "" && value != "0"
	case "voms_authz":
		p.Authz = value
	case "branch":
		p.Branch = value
	}
	if err != nil {
		return fmt.Errorf("%w: property %s: %w", ErrCorrupt, key, err)
	}
	return nil
}

// rows are the properties as the table holds them, absent ones left out.
func (p Properties) rows() [][2]string {
	rows := [][2]string{{"schema", schemaVersion}, {"schema_revision", strconv.Itoa(schemaRevision)},
		{"revision", strconv.FormatUint(p.Revision, 10)}, {"last_modified", strconv.FormatInt(p.LastModified, 10)}}
	add := func(key, value string, present bool) {
		if present {
			rows = append(rows, [2]string{key, value})
		}
	}
	add("previous_revision", p.Previous.String(), !p.Previous.IsZero())
	add("root_prefix", p.RootPrefix, p.RootPrefix != "")
	add("TTL", strconv.FormatInt(p.TTL, 10), p.TTL != 0)
	add("volatile", "1", p.Volatile)
	add("voms_authz", p.Authz, p.Authz != "")
	add("branch", p.Branch, p.Branch != "")
	return rows
}

// Statistics reads the counters. Those that an old catalog lacks are 0; in one
// of schema revision 7 all must be there, as the official client requires.
func (c *Catalog) Statistics() (Statistics, error) {
	var s Statistics
	if c.layout.statistics == "" {
		return s, nil
	}
	fields := map[string]*int64{}
	for _, f := range s.fields() {
		fields[f.name] = f.value
	}
	err := c.with(func(k *conn) error {
		return query(k.Conn, c.layout.statistics, nil, func(row *sqlite.Stmt) error {
			name := row.ColumnText(0)
			if to := fields[name]; to != nil {
				*to = row.ColumnInt64(1)
				delete(fields, name)
			}
			return nil
		})
	})
	if err == nil && len(fields) > 0 && c.props.SchemaRevision >= schemaRevision && !strings.HasPrefix(c.props.Schema, "1.") {
		err = fmt.Errorf("catalog %s: %w: %d of its counters are missing", c.name, ErrCorrupt, len(fields))
	}
	return s, err
}
