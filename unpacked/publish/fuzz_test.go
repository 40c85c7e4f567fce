package publish

import (
	"bytes"
	"path"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
)

func TestItemRoundTrip(t *testing.T) {
	for _, it := range []Item{
		*newDirectory("", -7),
		{Path: "/l\xff", Entry: catalog.Entry{Mode: unix.S_IFLNK | 0o777, Symlink: "a b", Mtime: 1, MtimeNsec: 999999999, Flags: catalog.Hidden}},
		{Path: "/f", Entry: catalog.Entry{Mode: unix.S_IFREG | 0o4755, Hash: cas.Sum(cas.SHAKE128, nil), Algorithm: cas.SHAKE128, Compression: cas.None,
			Size: 1 << 40, UID: 1<<32 - 2, GID: 5, LinkGroup: 9, Xattrs: map[string][]byte{"user.a": {}, "security.capability": {1, 2}}, HasXattrs: true, MtimeNsec: -1}},
		{Path: "/c", Entry: catalog.Entry{Mode: unix.S_IFREG, Flags: catalog.Chunked, Algorithm: cas.RMD160, Size: 3, MtimeNsec: -1},
			Chunks: []catalog.Chunk{{Offset: 0, Size: 1, Hash: cas.Sum(cas.RMD160, []byte{1})}, {Offset: 1, Size: 2, Hash: cas.Sum(cas.RMD160, []byte{2})}}},
	} {
		it.Entry.SetPath(it.Path)
		b, err := it.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var got Item
		if err := got.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		got.Entry.LinkCount = it.Entry.LinkCount // counted, not kept
		if !reflect.DeepEqual(got, it) {
			t.Errorf("got  %+v\nwant %+v", got, it)
		}
	}
}

// FuzzItem: a scratch file on a failing disk is an error, never a panic.
func FuzzItem(f *testing.F) {
	b, _ := newDirectory("/a", 1).AppendBinary(nil)
	f.Add(b)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		var it Item
		if it.UnmarshalBinary(b) != nil {
			return
		}
		if _, err := it.AppendBinary(nil); err != nil {
			t.Error(err)
		}
	})
}

// FuzzDetector compares the incremental detector with the rule.
func FuzzDetector(f *testing.F) {
	f.Add(randomBytes(3000, 5), 7)
	f.Add(make([]byte, 2000), 1000)
	f.Fuzz(func(t *testing.T, data []byte, piece int) {
		s := ChunkSizes{Min: 40, Avg: 64, Max: 128}
		if piece <= 0 || len(data) > 1<<16 {
			return
		}
		d := newDetector(s)
		want := cuts(data, s)
		for i := 0; i < len(data); {
			end := min(i+piece, len(data))
			at := d.cut(data[i:end])
			if at < 0 {
				i = end
				continue
			}
			if i += at; len(want) == 0 || want[0] != i {
				t.Fatalf("cut at %d, want %v", i, want)
			}
			want = want[1:]
		}
		if len(want) > 0 {
			t.Fatalf("no cut at %v", want)
		}
	})
}

// FuzzComparePaths: the order is total and puts what lies in a directory right
// behind it.
func FuzzComparePaths(f *testing.F) {
	f.Add("/a/b", "/a.b", "/a")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if ComparePaths(a, b) != -ComparePaths(b, a) && (ComparePaths(a, b) < 0) == (ComparePaths(b, a) < 0) {
			t.Errorf("%q and %q", a, b)
		}
		if ComparePaths(a, b) <= 0 && ComparePaths(b, c) <= 0 && ComparePaths(a, c) > 0 {
			t.Errorf("%q, %q, %q", a, b, c)
		}
		if below(c, a) && ComparePaths(a, b) < 0 && ComparePaths(b, c) < 0 && !below(b, a) {
			t.Errorf("%q comes between %q and %q", b, a, c)
		}
	})
}

// FuzzS3Location: whatever is taken for a location names a bucket and keeps
// within its prefix.
func FuzzS3Location(f *testing.F) {
	f.Add("s3://bucket/a/b?endpoint=http://h:1&region=r&acl=public-read")
	f.Add("s3://bucket")
	f.Fuzz(func(t *testing.T, location string) {
		c, err := ParseS3(location, func(string) string { return "" })
		if err != nil {
			return
		}
		if c.Bucket == "" || strings.HasPrefix(c.Prefix, "/") || strings.HasSuffix(c.Prefix, "/") {
			t.Errorf("%q: %+v", location, c)
		}
		s, err := OpenS3(c)
		if err == nil && !strings.HasPrefix(s.key("data/x"), c.Prefix) {
			t.Errorf("%q: key %q", location, s.key("data/x"))
		}
	})
}

// TestAlternativePaths: a client that cannot see data/ finds root catalog and
// certificate in the root.
func TestAlternativePaths(t *testing.T) {
	dir, err := OpenDirectory(tempDir(t))
	if err != nil {
		t.Fatal(err)
	}
	r := &testRepo{t: t, dir: dir, s: dir, keys: testKeys(), o: Options{FQRN: testFQRN, Scratch: tempDir(t)}}
	if _, err := Init(t.Context(), r.s, InitOptions{Options: r.o, Keys: r.keys, AltPaths: true}); err != nil {
		t.Fatal(err)
	}
	m := r.put("/f", "x")
	if !m.AltPaths {
		t.Error("the manifest does not tell of the alternative paths")
	}
	for _, o := range []cas.Object{{Hash: m.Root, Suffix: cas.CatalogSuffix}, {Hash: m.Certificate, Suffix: cas.CertificateSuffix}} {
		alt, err := readAll(t.Context(), r.s, o.AltName(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		data, err := readAll(t.Context(), r.s, o.Name(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(alt, data) || path.Dir(o.AltName()) != "." {
			t.Errorf("%s is not a copy of %s", o.AltName(), o.Name())
		}
	}
	r.check()
}
