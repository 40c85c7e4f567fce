package catalog

import (
	"encoding/binary"
	"fmt"
	"os"

	"zombiezen.com/go/sqlite"
)

// openReadOnly opens the database in f, which must stay open as long.
func openReadOnly(f *os.File) (*sqlite.Conn, error) {
	if err := checkSize(f); err != nil {
		return nil, err
	}
	name, err := uri(f.Fd())
	if err != nil {
		return nil, err
	}
	db, err := sqlite.OpenConn(name, sqlite.OpenReadOnly|sqlite.OpenURI)
	if err != nil {
		return nil, corrupt(err)
	}
	// cell_size_check finds pages that lie about their rows before they are
	// used; trusted_schema keeps views and triggers of the file from running.
	for _, pragma := range []string{"cache_size=-2048", "cell_size_check=1", "trusted_schema=0", "temp_store=2"} {
		if err := execute(db, "PRAGMA "+pragma); err != nil {
			db.Close()
			return nil, corrupt(err)
		}
	}
	return db, nil
}

// checkSize compares a database's length with what its header says. SQLite reads
// what is missing at the end as zeros, and an index of zeros as one without rows.
func checkSize(f *os.File) error {
	var header [100]byte
	if _, err := f.ReadAt(header[:], 0); err != nil {
		return fmt.Errorf("%w: it has no header: %w", ErrCorrupt, err)
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	page := int64(binary.BigEndian.Uint16(header[16:]))
	if page == 1 { // how 65536 is written
		page = 1 << 16
	}
	if page < 512 || info.Size()%page != 0 {
		return fmt.Errorf("%w: %d bytes are not a number of pages of %d", ErrCorrupt, info.Size(), page)
	}
	// The number of pages is valid only if the last writer knew of that field.
	pages := int64(binary.BigEndian.Uint32(header[28:]))
	if string(header[24:28]) == string(header[92:96]) && info.Size() < pages*page {
		return fmt.Errorf("%w: %d of its %d pages are missing", ErrCorrupt, pages-info.Size()/page, pages)
	}
	return nil
}

// readDatabase runs read on the database in f.
func readDatabase(f *os.File, read func(*sqlite.Conn) error) error {
	db, err := openReadOnly(f)
	if err != nil {
		return err
	}
	defer db.Close()
	return read(db)
}

// createDatabase makes a new database file and begins its only transaction. A
// half-written file is thrown away, and a complete one is read back, hashed and
// stored under its name: so no journal and no syncing.
func createDatabase(path string, setup []string) (*sqlite.Conn, error) {
	// SQLite would open what is there already.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	f.Close()
	db, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	pragmas := []string{"PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", "PRAGMA locking_mode=EXCLUSIVE",
		"PRAGMA page_size=4096", "PRAGMA cache_size=-16384", "BEGIN"}
	for _, sql := range append(pragmas, setup...) {
		if err == nil {
			err = execute(db, sql)
		}
	}
	if err != nil {
		if db != nil {
			db.Close()
		}
		os.Remove(path)
		return nil, err
	}
	return db, nil
}

// writeDatabase makes a database file whose rows fill inserts.
func writeDatabase(path string, setup []string, fill func(*sqlite.Conn) error) error {
	db, err := createDatabase(path, setup)
	if err != nil {
		return err
	}
	err = fill(db)
	if err == nil {
		err = execute(db, "COMMIT")
	}
	if cerr := db.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(path)
	}
	return err
}

// insert runs a statement with the given arguments: strings and int64s.
func insert(db *sqlite.Conn, sql string, args ...any) error {
	s, err := db.Prepare(sql)
	if err != nil {
		return err
	}
	for i, arg := range args {
		switch v := arg.(type) {
		case string:
			s.BindText(i+1, v)
		case int64:
			s.BindInt64(i+1, v)
		default:
			return fmt.Errorf("argument %d is a %T", i+1, arg)
		}
	}
	return run(s)
}

// run executes a bound statement that answers no rows.
func run(s *sqlite.Stmt) error {
	_, err := s.Step()
	s.Reset()
	return err
}
