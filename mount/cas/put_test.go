package cas

import (
	"errors"
	"io"
	"io/fs"
	"testing"
)

func TestPut(t *testing.T) {
	c, err := OpenCache(CacheConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	o := Object{Hash: Sum(SHA1, []byte("stored form")), Size: 7}
	if err := c.Put(o, []byte("short")); !errors.Is(err, ErrCorrupt) || c.Has(o) {
		t.Errorf("wrong size: %v", err)
	}
	for range 2 {
		if err := c.Put(o, []byte("content")); err != nil || !c.Has(o) {
			t.Fatal(err)
		}
	}
	c.Enforce(t.Context())
	f, err := c.Open(o.Hash)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); err != nil || string(b) != "content" {
		t.Errorf("read back %q, %v", b, err)
	}
	if bytes, objects, err := c.Usage(); bytes != 7 || objects != 1 || err != nil {
		t.Errorf("usage %d bytes, %d objects, %v", bytes, objects, err)
	}
	r, err := OpenCache(CacheConfig{Dir: c.Dir(), ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Put(o, []byte("content")); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("into a read-only cache: %v", err)
	}
}
