package cas

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// exported fills a cache with objects of every algorithm, and exports it.
func exported(t testing.TB) (path string, objects map[Object][]byte, d *depot, c *Cache) {
	t.Helper()
	return exportedScaled(t, 40, 37)
}

func exportedScaled(t testing.TB, n, scale int) (path string, objects map[Object][]byte, d *depot, c *Cache) {
	t.Helper()
	d, c = newDepot(t), newCache(t, 0)
	r := newRemote(t, &Remote{Cache: c, Main: d})
	objects = map[Object][]byte{}
	for i := range n {
		content := text(i*i*scale, byte(i))
		o := d.put(t, content, []Algorithm{SHA1, RMD160, SHAKE128}[i%3], []Compression{Zlib, None}[i%2])
		o.Pinned = i%10 == 0
		wantContent(t, r, o, content)
		objects[o] = content
	}
	if err := c.SetBreadcrumb("a.example.org", Breadcrumb{Sum(SHA1, nil), 1700000000, 7}); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "objects.flatrun")
	report, err := c.Export(t.Context(), path, nil)
	if err != nil || report.Objects != int64(len(objects)) || len(report.Corrupt) > 0 {
		t.Fatalf("export: %+v, %v", report, err)
	}
	return path, objects, d, c
}

func openArchive(t testing.TB, path string) *Archive {
	t.Helper()
	a, err := OpenArchive(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func TestArchive(t *testing.T) {
	path, objects, _, c := exported(t)
	a := openArchive(t, path)
	size, count := a.Usage()
	wantSize, wantCount, err := c.Usage()
	if err != nil || size != wantSize || count != wantCount {
		t.Errorf("archive of %d bytes in %d objects, want %d in %d, %v", size, count, wantSize, wantCount, err)
	}
	for o, content := range objects {
		if !a.Has(o) {
			t.Errorf("%v is not in it", o)
		}
		wantContent(t, a, o, content)
	}
	pinned := 0
	err = a.List(t.Context(), func(e Entry) error {
		if e.Pinned {
			pinned++
		}
		return nil
	})
	if err != nil || pinned != 4 {
		t.Errorf("%d pinned objects, %v", pinned, err)
	}
	if got := a.Breadcrumbs(); len(got) != 1 || got[0].FQRN != "a.example.org" || got[0].Revision != 7 {
		t.Errorf("breadcrumbs %+v", got)
	}
	absent := Object{Hash: Sum(SHA1, []byte("absent")), Size: -1}
	if _, err := a.Open(t.Context(), absent); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent object: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Objects of an archive go into the cache when they are used; the network is not asked.
func TestRemoteOverArchive(t *testing.T) {
	path, objects, _, _ := exported(t)
	c, empty := newCache(t, 0), newDepot(t)
	r := newRemote(t, &Remote{Cache: c, Main: empty, Archives: []*Archive{openArchive(t, path)}})
	for range 2 {
		for o, content := range objects {
			wantContent(t, r, o, content)
			if !c.has(o) {
				t.Errorf("%v did not come into the cache", o)
			}
		}
	}
	if s := r.Stats(); s.LowerHits != int64(len(objects)) || s.Hits != s.LowerHits || s.Objects != 0 || len(empty.requests()) > 0 {
		t.Errorf("%+v, and %d requests", s, len(empty.requests()))
	}
	txnEmpty(t, c)
}

// A byte that changed in an object is noticed, and the network has the right ones.
func TestDamagedArchive(t *testing.T) {
	path, objects, d, _ := exported(t)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	index := binary.LittleEndian.Uint64(raw[len(raw)-trailerSize:])
	for i := headSize; i < int(index); i += 97 {
		raw[i] ^= 1
	}
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	a := openArchive(t, path)
	bad := 0
	for o := range objects {
		if err := readBack(a, o, objects[o]); errors.Is(err, ErrCorrupt) {
			bad++
		} else if err != nil {
			t.Errorf("%v: %v", o, err)
		}
	}
	if bad < len(objects)/2 {
		t.Errorf("%d damaged objects were noticed", bad)
	}
	c := newCache(t, 0)
	r := newRemote(t, &Remote{Cache: c, Main: d, Archives: []*Archive{a}})
	for o, content := range objects {
		wantContent(t, r, o, content)
	}
	if s := r.Stats(); s.Objects != int64(bad) || s.LowerHits != int64(len(objects)-bad) {
		t.Errorf("%d damaged: %+v", bad, s)
	}
	report, err := newCache(t, 0).Import(t.Context(), a, nil)
	if err != nil || len(report.Damaged) != bad || report.Objects != int64(len(objects)-bad) {
		t.Errorf("import: %+v, %v", report, err)
	}
}

func TestBadArchives(t *testing.T) {
	path, _, _, _ := exported(t)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	trailer := len(raw) - trailerSize
	index := int(binary.LittleEndian.Uint64(raw[trailer:]))
	// sealed makes the checksums right again.
	sealed := func(b []byte) []byte {
		t := b[len(b)-trailerSize:]
		sum := sha256.Sum256(b[index : len(b)-trailerSize])
		copy(t[32:], sum[:])
		sum = sha256.Sum256(t[:96])
		copy(t[96:], sum[:])
		return b
	}
	tests := []struct {
		name, want string
		change     func(b []byte) []byte
	}{
		{"empty", "does not begin", func(b []byte) []byte { return nil }},
		{"another file", "does not begin", func(b []byte) []byte { return bytes.Repeat([]byte("x"), 1000) }},
		{"head only", "ends after 32 bytes", func(b []byte) []byte { return b[:headSize] }},
		{"cut in the objects", "no index at its end", func(b []byte) []byte { return b[:index/2] }},
		{"cut in the index", "no index at its end", func(b []byte) []byte { return b[:index+300] }},
		{"last byte missing", "no index at its end", func(b []byte) []byte { return b[:len(b)-1] }},
		{"more at the end", "no index at its end", func(b []byte) []byte { return append(b, 0) }},
		{"middle missing", "written with", func(b []byte) []byte { return append(b[:headSize:headSize], b[headSize+10:]...) }},
		{"index changed", "does not match its checksum", func(b []byte) []byte { b[index+60] ^= 1; return b }},
		{"breadcrumb changed", "does not match its checksum", func(b []byte) []byte { b[trailer-2] ^= 1; return b }},
		{"trailer changed", "no index at its end", func(b []byte) []byte { b[trailer+3] ^= 1; return b }},
		{"rows swapped", "out of order", func(b []byte) []byte {
			row := append([]byte(nil), b[index:index+rowSize]...)
			copy(b[index:], b[index+rowSize:index+2*rowSize])
			copy(b[index+rowSize:], row)
			return sealed(b)
		}},
		{"object outside", "lies outside", func(b []byte) []byte { b[index+39] = 0x7f; return sealed(b) }},
		{"unknown algorithm", "algorithm", func(b []byte) []byte { b[index+20] = 9; return sealed(b) }},
		{"bad breadcrumb", "breadcrumb", func(b []byte) []byte { b[trailer-3] = 'x'; return sealed(b) }},
	}
	for _, tt := range tests {
		file := filepath.Join(t.TempDir(), "a")
		if err := os.WriteFile(file, tt.change(append([]byte(nil), raw...)), 0o644); err != nil {
			t.Fatal(err)
		}
		a, err := OpenArchive(file, nil)
		if err == nil {
			a.Close()
		}
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenArchive(path, nil); err == nil || !strings.Contains(err.Error(), "chmod") {
		t.Errorf("everybody's file: %v", err)
	}
	if _, err := OpenArchive(t.TempDir(), nil); err == nil {
		t.Error("a directory opens as an archive")
	}
}

func TestExportLeavesOutWhatIsWrong(t *testing.T) {
	path, objects, _, c := exported(t)
	var spoilt Object
	for o := range objects {
		if o.Compression == Zlib && o.Size > 1000 && !o.Pinned { // pinned ones cannot be written
			spoilt = o
		}
	}
	if err := unix.Setxattr(c.path(spoilt.Hash), checksumName, []byte("00000000 1"), 0); err != nil {
		t.Skip("no extended attributes here: ", err)
	}
	report, err := c.Export(t.Context(), path, nil)
	if err != nil || len(report.Corrupt) != 1 || report.Corrupt[0] != spoilt.Hash {
		t.Fatalf("%+v, %v", report, err)
	}
	a := openArchive(t, path)
	if _, err := a.Open(t.Context(), spoilt); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the wrong object: %v", err)
	}
	for o, content := range objects {
		if o != spoilt {
			wantContent(t, a, o, content)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Export(ctx, path+"2", nil); err == nil || exists(path+"2") {
		t.Errorf("an interrupted export: %v", err)
	}
	if _, err := c.Export(t.Context(), filepath.Join(t.TempDir(), "no/such"), nil); err == nil {
		t.Error("export into nowhere succeeds")
	}
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func TestImport(t *testing.T) {
	path, objects, _, _ := exported(t)
	a := openArchive(t, path)
	c := newCache(t, 0)
	seen := 0
	if r, err := c.Import(t.Context(), a, func(Entry) { seen++ }); err != nil || r.Objects != int64(len(objects)) || seen != len(objects) {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err := c.Import(t.Context(), a, nil); err != nil || r.Objects != 0 || r.Present != int64(len(objects)) {
		t.Errorf("again: %+v, %v", r, err)
	}
	r, err := c.Verify(t.Context(), false, nil)
	if err != nil || r.Good != int64(len(objects)) {
		t.Errorf("verify: %+v, %v", r, err)
	}
	for o, content := range objects {
		wantContent(t, c.Store(), o, content)
	}
	if b, err := c.Breadcrumb("a.example.org"); err != nil || b.Revision != 7 {
		t.Errorf("breadcrumb: %v, %v", b, err)
	}
	if _, err := newCache(t, 1000).Import(t.Context(), a, nil); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("into a small cache: %v", err)
	}
	readOnly := openCache(t, CacheConfig{Dir: c.Dir(), ReadOnly: true})
	if _, err := readOnly.Import(t.Context(), a, nil); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("into a read-only cache: %v", err)
	}
}

func TestAdopt(t *testing.T) {
	c := newCache(t, 0)
	crumb := func(revision uint64) NamedCrumb {
		return NamedCrumb{"a.example.org", Breadcrumb{Sum(SHA1, []byte{byte(revision)}), 1000 + int64(revision), revision}}
	}
	for _, step := range []struct{ offer, want uint64 }{{5, 5}, {4, 5}, {6, 6}} {
		if err := c.Adopt([]NamedCrumb{crumb(step.offer)}); err != nil {
			t.Fatal(err)
		}
		if all := c.Breadcrumbs(); len(all) != 1 || all[0] != crumb(step.want) {
			t.Errorf("after %d: %+v", step.offer, all)
		}
	}
}

// Directories and archives below a cache, in the order of the configuration.
func TestOpenLower(t *testing.T) {
	path, objects, _, c := exported(t)
	l, leftOut := OpenLower([]string{"/no/such", c.Dir(), os.Args[0], path}, nil)
	if len(leftOut) != 2 || !strings.Contains(leftOut[0].Error(), "/no/such") || !strings.Contains(leftOut[1].Error(), os.Args[0]) {
		t.Errorf("left out are %v", leftOut)
	}
	if len(l.Dirs) != 1 || len(l.Archives) != 1 || len(l.Breadcrumbs()) != 2 {
		t.Fatalf("%+v", l)
	}
	t.Cleanup(func() { l.Close() })
	for o, content := range objects {
		wantContent(t, l.Store(), o, content)
	}
	if _, err := l.Store().Open(t.Context(), Object{Hash: Sum(SHA1, []byte("absent")), Size: -1}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent object: %v", err)
	}
	if (Lower{}).Store() != nil {
		t.Error("no tiers make a store")
	}
}

func FuzzArchive(f *testing.F) {
	path, objects, _, _ := exportedScaled(f, 6, 3)
	raw, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw, false)
	f.Add(raw[:len(raw)/2], true)
	f.Fuzz(func(t *testing.T, raw []byte, seal bool) {
		if seal && len(raw) > trailerSize { // so that the fuzzer gets past the checksums
			tail := raw[len(raw)-trailerSize:]
			if index := binary.LittleEndian.Uint64(tail); index < uint64(len(raw)-trailerSize) {
				sum := sha256.Sum256(raw[index : len(raw)-trailerSize])
				copy(tail[32:], sum[:])
			}
			copy(tail[80:], archiveMagic)
			sum := sha256.Sum256(tail[:96])
			copy(tail[96:], sum[:])
		}
		file := filepath.Join(t.TempDir(), "a")
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := OpenArchive(file, nil)
		if err != nil {
			if a != nil || !strings.Contains(err.Error(), file) {
				t.Fatalf("%v, %v", a, err)
			}
			return
		}
		defer a.Close()
		for o, content := range objects {
			if f, err := a.Open(t.Context(), o); err == nil {
				f.Close()
				if !seal {
					if err := readBack(a, o, content); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		a.List(t.Context(), func(e Entry) error {
			if f, err := a.Open(t.Context(), Object{Hash: e.Hash, Size: e.Size}); err == nil {
				f.Close()
			}
			return nil
		})
	})
}
