package catalog

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"
)

// FuzzRow puts arbitrary values into the columns of one row. The entry is
// refused, or fit for the kernel and written again as it was read.
func FuzzRow(f *testing.F) {
	f.Add("file", "", make([]byte, 20), int64(17), int64(0o100644), int64(4), int64(1), int64(5), []byte(nil))
	f.Add("link", "$(A)", []byte(nil), int64(4), int64(0o120777), int64(12), int64(1), int64(-1), []byte(nil))
	f.Add("dir", "", []byte(nil), int64(4096), int64(0o40755), int64(3), int64(2), int64(0), []byte("\x01\x01\x01\x01ab"))
	f.Add("big", "", []byte(nil), int64(30), int64(0o100644), int64(68), int64(7)<<32|2, int64(0), []byte(nil))
	f.Add("null", "", []byte(nil), int64(0x103), int64(0o20666), int64(20), int64(1), int64(0), []byte(nil))
	entries, chunks := sample()
	_, path := build(f, "", entries, chunks)
	template, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name, link string, hash []byte, size, mode, flags, links, nsec int64, xattr []byte) {
		path := filepath.Join(t.TempDir(), "catalog")
		if err := os.WriteFile(path, template, 0o600); err != nil {
			t.Fatal(err)
		}
		setRow(t, path, name, link, hash, size, mode, flags, links, nsec, xattr)
		c := open(t, path)
		e, found, err := c.Lookup(HashPath("/dir/file"))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if !found || e.Name == "" || strings.ContainsAny(e.Name, "/\x00") || e.LinkCount == 0 || e.StatSize() < 0 {
			t.Fatalf("read as %+v, found %v", e, found)
		}
		if e.Xattrs, err = c.Xattrs(e.Row); err != nil || e.Flags&Chunked != 0 || e.Flags&(NestedMount|BindMount) != 0 {
			return
		}
		again, _ := build(t, "", []Entry{entries[0], e}, nil)
		got, _, err := again.Lookup(e.Path)
		got.Row, got.Xattrs = e.Row, e.Xattrs
		got.HasXattrs = e.HasXattrs // a blob of no attributes is written as none
		if got.Hash.IsZero() {
			got.Algorithm = e.Algorithm // not kept where there is nothing it describes
		}
		if err != nil || !reflect.DeepEqual(got, e) {
			t.Fatalf("%v\n got %+v\nwant %+v", err, got, e)
		}
	})
}

// setRow replaces the columns of /dir/file.
func setRow(t *testing.T, path, name, link string, hash []byte, size, mode, flags, links, nsec int64, xattr []byte) {
	t.Helper()
	db, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s, err := db.Prepare("UPDATE catalog SET name = ?, symlink = ?, hash = ?, size = ?, mode = ?, flags = ?, hardlinks = ?," +
		" mtimens = ?, xattr = ? WHERE name = 'file'")
	if err != nil {
		t.Fatal(err)
	}
	s.BindText(1, name)
	s.BindText(2, link)
	s.BindBytes(3, hash)
	for i, v := range []int64{size, mode, flags, links, nsec} {
		s.BindInt64(4+i, v)
	}
	s.BindBytes(9, xattr)
	if err := run(s); err != nil {
		t.Fatal(err)
	}
}
