package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/unpacked/publish"
)

var testKeys = sync.OnceValue(func() publish.Keys {
	k, err := publish.NewKeys("test.example.org", time.Now())
	if err != nil {
		panic(err)
	}
	return k
})

// transaction is a real one on an empty repository.
func transaction(t testing.TB) *publish.Tx {
	t.Helper()
	return transactionChunks(t, publish.ChunkSizes{})
}

// transactionChunks is one that cuts files into pieces of these sizes.
func transactionChunks(t testing.TB, sizes publish.ChunkSizes) *publish.Tx {
	t.Helper()
	return transactionIn(t, t.TempDir(), sizes)
}

// transactionIn is one whose repository is stored in dir.
func transactionIn(t testing.TB, dir string, sizes publish.ChunkSizes) *publish.Tx {
	t.Helper()
	storage, err := publish.OpenDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	keys := testKeys()
	o := publish.Options{FQRN: "test.example.org", Scratch: t.TempDir(), Chunks: sizes}
	if _, err := publish.Init(t.Context(), storage, publish.InitOptions{Options: o, Keys: keys}); err != nil {
		t.Fatal(err)
	}
	tx, err := publish.Begin(t.Context(), storage, keys, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Abort() })
	return tx
}

// line is one entry of a test's tar.
type line struct {
	name   string
	typ    byte
	target string // of links; content of files
	mode   int64
	pax    map[string]string
}

var epoch = time.Unix(1700000000, 0)

func archive(t testing.TB, lines ...line) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, l := range lines {
		h := &tar.Header{Name: l.name, Typeflag: l.typ, Mode: l.mode, ModTime: epoch, PAXRecords: l.pax, Format: tar.FormatPAX}
		content := ""
		switch l.typ {
		case tar.TypeReg:
			content = l.target
			h.Size = int64(len(content))
		case tar.TypeChar, tar.TypeBlock:
			h.Devmajor, h.Devminor = 1, 3
		default:
			h.Linkname = l.target
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// describe is a tree as text, a line each: path, type, what it holds.
func describe(t testing.TB, r *Rows) string {
	t.Helper()
	var b strings.Builder
	for it, err := range r.Items() {
		if err != nil {
			t.Fatal(err)
		}
		e := it.Entry
		fmt.Fprintf(&b, "%s %s", it.Path, map[uint32]string{unix.S_IFREG: "file", unix.S_IFDIR: "dir", unix.S_IFLNK: "link",
			unix.S_IFCHR: "char", unix.S_IFBLK: "block", unix.S_IFIFO: "fifo"}[e.Mode&unix.S_IFMT])
		switch {
		case e.IsRegular():
			fmt.Fprintf(&b, " %d", e.Size)
		case e.IsSymlink():
			fmt.Fprintf(&b, " %s", e.Symlink)
		case e.IsDevice():
			fmt.Fprintf(&b, " %d:%d", unix.Major(uint64(e.Size)), unix.Minor(uint64(e.Size)))
		}
		if e.LinkGroup != 0 {
			fmt.Fprintf(&b, " group %d", e.LinkGroup)
		}
		for _, k := range slices.Sorted(maps.Keys(e.Xattrs)) {
			fmt.Fprintf(&b, " %s", strings.TrimSuffix(k, ".overlay.opaque"))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestRead(t *testing.T) {
	tx := transaction(t)
	const reg, dir, sym, hard = tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink
	for _, tt := range []struct {
		name  string
		lines []line
		want  string // a tree, or part of an error after "error: "
	}{
		{"nothing", nil, " dir user.overlay.implied\n"},
		{"order and implied directories", []line{{name: "b/c", typ: reg, target: "xy"}, {name: "./a", typ: reg, target: "x"}},
			" dir user.overlay.implied\n/a file 1\n/b dir user.overlay.implied\n/b/c file 2\n"},
		{"names that sort around the slash", []line{{name: "a", typ: dir}, {name: "a/b", typ: reg}, {name: "a-c", typ: reg}, {name: "a.d", typ: dir}},
			" dir user.overlay.implied\n/a dir\n/a/b file 0\n/a-c file 0\n/a.d dir\n"},
		{"every type", []line{{name: ".", typ: dir}, {name: "l", typ: sym, target: "../x"}, {name: "c", typ: tar.TypeChar}, {name: "k", typ: tar.TypeBlock}, {name: "p", typ: tar.TypeFifo}},
			" dir\n/c char 1:3\n/k block 1:3\n/l link ../x\n/p fifo\n"},
		{"the later entry counts", []line{{name: "./", typ: dir}, {name: "a", typ: reg, target: "1"}, {name: "a", typ: sym, target: "t"}},
			" dir\n/a link t\n"},
		{"hard links, forward in the alphabet and backward, in one directory and two", []line{
			{name: ".", typ: dir}, {name: "m", typ: reg, target: "123"}, {name: "z", typ: hard, target: "m"}, {name: "a", typ: hard, target: "./m"}, {name: "d/e", typ: hard, target: "/m"},
		}, " dir\n/a file 3 group 1\n/d dir user.overlay.implied\n/d/e file 3 group 1\n/m file 3 group 1\n/z file 3 group 1\n"},
		{"a hard link to a hard link", []line{
			{name: ".", typ: dir}, {name: "c", typ: reg, target: "1"}, {name: "b", typ: hard, target: "c"}, {name: "a", typ: hard, target: "b"},
		}, " dir\n/a file 1 group 1\n/b file 1 group 1\n/c file 1 group 1\n"},
		{"a hard link is to what the name was then", []line{
			{name: ".", typ: dir}, {name: "c", typ: reg, target: "1"}, {name: "a", typ: hard, target: "c"}, {name: "c", typ: reg, target: "22"},
		}, " dir\n/a file 1 group 1\n/c file 2\n"},
		{"a whiteout", []line{{name: ".", typ: dir}, {name: "d/.wh.gone", typ: reg}},
			" dir\n/d dir user.overlay.implied\n/d/gone char 0:0\n"},
		{"an opaque directory", []line{{name: ".", typ: dir}, {name: "d", typ: dir}, {name: "d/.wh..wh..opq", typ: reg}, {name: "d/x", typ: reg}},
			" dir\n/d dir trusted user\n/d/x file 0\n"},
		{"opaque, not listed", []line{{name: ".", typ: dir}, {name: "d/.wh..wh..opq", typ: reg}},
			" dir\n/d dir trusted user.overlay.implied user\n"},
		{"removed and made again", []line{{name: ".", typ: dir}, {name: ".wh.d", typ: reg}, {name: "d", typ: dir}, {name: "d/x", typ: reg}},
			" dir\n/d dir trusted user\n/d/x file 0\n"},
		{"removed and made again as a file", []line{{name: ".", typ: dir}, {name: "f", typ: reg, target: "1"}, {name: ".wh.f", typ: reg}}, " dir\n/f file 1\n"},
		{"removed, and something in it", []line{{name: ".", typ: dir}, {name: ".wh.d", typ: reg}, {name: "d/x", typ: reg}},
			" dir\n/d dir trusted user\n/d/x file 0\n"},
		{"aufs's own files", []line{{name: ".", typ: dir}, {name: ".wh..wh.plnk", typ: dir}, {name: ".wh..wh.plnk/x", typ: reg}, {name: ".wh..wh.aufs", typ: reg},
			{name: ".wh..wh.orph/d/", typ: dir}, {name: ".wh..wh.orph/.wh.f", typ: reg}, {name: ".wh..wh.orph/l", typ: sym, target: "x"}}, " dir\n"},
		{"names of a file that aufs kept", []line{{name: ".", typ: dir}, {name: ".wh..wh.plnk/7.9", typ: reg, target: "1"}, {name: ".wh..wh.plnk/7.10", typ: hard, target: ".wh..wh.plnk/7.9"},
			{name: "a", typ: hard, target: ".wh..wh.plnk/7.9"}, {name: "b", typ: hard, target: "./.wh..wh.plnk/7.10"}}, " dir\n/a file 1 group 1\n/b file 1 group 1\n"},
		{"attributes", []line{{name: ".", typ: dir}, {name: "f", typ: reg, pax: map[string]string{"SCHILY.xattr.security.capability": "\x01", "SCHILY.xattr.user.a": "b"}}},
			" dir\n/f file 0 security.capability user.a\n"},
		{"an attribute that is for us only", []line{{name: ".", typ: dir}, {name: "d", typ: dir, pax: map[string]string{"SCHILY.xattr.trusted.overlay.redirect": "/etc"}}},
			" dir\n/d dir\n"},
		{"a name that is not UTF-8", []line{{name: ".", typ: dir}, {name: "\xff\xfe", typ: reg}}, " dir\n/\xff\xfe file 0\n"},
		{"climbs out", []line{{name: "a/../../etc/passwd", typ: reg}}, `error: "a/../../etc/passwd": the path climbs out`},
		{"below a link", []line{{name: "a", typ: sym, target: "/etc"}, {name: "a/passwd", typ: reg}}, `error: "/a/passwd": lies below "/a", which is no directory`},
		{"below a file, through a directory", []line{{name: "a", typ: reg}, {name: "a/b/c", typ: reg}}, `error: lies below "/a"`},
		{"a hard link out", []line{{name: "a", typ: hard, target: "../x"}}, `error: "a": links to "../x": the path climbs out`},
		{"a hard link to a lower layer's file", []line{{name: ".", typ: dir}, {name: "a", typ: hard, target: "./d//b"}}, " dir\n/a link /d/b user.flathub.lowerlink\n"},
		{"a hard link to what comes later: to the lower layer's", []line{{name: ".", typ: dir}, {name: "a", typ: hard, target: "b"}, {name: "b", typ: reg}},
			" dir\n/a link /b user.flathub.lowerlink\n/b file 0\n"},
		{"a hard link to a hard link to a lower layer's", []line{{name: ".", typ: dir}, {name: "c", typ: hard, target: "a"}, {name: "b", typ: hard, target: "c"}},
			" dir\n/b link /a group 1 user.flathub.lowerlink\n/c link /a group 1 user.flathub.lowerlink\n"},
		{"hard links in a circle, in turn", []line{{name: ".", typ: dir}, {name: "a", typ: hard, target: "b"}, {name: "b", typ: hard, target: "a"}},
			" dir\n/a link /b group 1 user.flathub.lowerlink\n/b link /b group 1 user.flathub.lowerlink\n"},
		{"a hard link to what is removed later", []line{{name: ".", typ: dir}, {name: "a", typ: hard, target: "b"}, {name: ".wh.b", typ: reg}},
			" dir\n/a link /b user.flathub.lowerlink\n/b char 0:0\n"},
		{"a hard link to what was removed", []line{{name: ".wh.b", typ: reg}, {name: "a", typ: hard, target: "b"}}, `error: "/a": a hard link to "/b", which the layer removes before it`},
		{"with its directory", []line{{name: ".wh.d", typ: reg}, {name: "a", typ: hard, target: "d/b"}}, `error: "/a": a hard link to "/d/b", which the layer removes before it`},
		{"by an opaque directory", []line{{name: "d/.wh..wh..opq", typ: reg}, {name: "a", typ: hard, target: "d/e/b"}}, `error: "/a": a hard link to "/d/e/b", which the layer removes before it`},
		{"by a file in the place of its directory", []line{{name: "d", typ: reg}, {name: "a", typ: hard, target: "d/b"}}, `error: "/a": a hard link to "/d/b", which the layer removes before it`},
		{"a hard link to the root", []line{{name: "a", typ: hard, target: "./"}}, `error: "a": a hard link to the root`},
		{"a hard link in the place of the root", []line{{name: "./", typ: hard, target: "a"}}, `error: "./": the root is not a directory`},
		{"attributes that are not the image's to set", []line{{name: ".", typ: dir, pax: map[string]string{"SCHILY.xattr.user.flathub.implied": "y", "SCHILY.xattr.user.overlay.opaque": "y"}}}, " dir\n"},
		{"a hard link to a directory", []line{{name: "d", typ: dir}, {name: "a", typ: hard, target: "d"}}, "error: a hard link to the directory"},
		{"a whiteout of nothing", []line{{name: "d/.wh.", typ: reg}}, "error: a whiteout of nothing"},
		{"the root is a file", []line{{name: ".", typ: reg}}, "error: the root is not a directory"},
		{"a long name", []line{{name: strings.Repeat("n", 256), typ: reg}}, "error: more than 255 bytes"},
		{"an unknown type", []line{{name: "a", typ: 'Z'}}, "error: unknown type 'Z'"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rows, err := Read(t.Context(), tx, bytes.NewReader(archive(t, tt.lines...)), Options{Scratch: t.TempDir(), Whiteouts: true})
			if part, bad := strings.CutPrefix(tt.want, "error: "); bad {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Fatalf("error is %v, want one with %q", err, part)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			if got := describe(t, rows); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

func TestReadPlain(t *testing.T) {
	in := archive(t, line{name: "d/.wh.x", typ: tar.TypeReg, target: "1"})
	rows, err := Read(t.Context(), transaction(t), bytes.NewReader(in), Options{Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if got, want := describe(t, rows), " dir\n/d dir\n/d/.wh.x file 1\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestPlainLink reads an archive that is no layer: there is nothing below that a hard link could lead to.
func TestPlainLink(t *testing.T) {
	b := archive(t, line{name: "a", typ: tar.TypeLink, target: "b"})
	_, err := Read(t.Context(), transaction(t), bytes.NewReader(b), Options{Scratch: t.TempDir()})
	if want := `tar entry "/a": a hard link to "/b", which the archive does not have before it`; err == nil || err.Error() != want {
		t.Errorf("error is %v, want %s", err, want)
	}
}

// TestReadMany sorts more entries than fit one run, in random order, with hard links among them.
func TestReadMany(t *testing.T) {
	n := 3*runLength + 17
	if testing.Short() {
		n = runLength + 17
	}
	lines := []line{{name: ".", typ: tar.TypeDir}, {name: "first", typ: tar.TypeReg}}
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
		l := line{name: fmt.Sprintf("d%03d/f%d", i%500, i), typ: tar.TypeSymlink, target: "t"}
		if i%1000 == 7 {
			l.typ, l.target = tar.TypeLink, "first"
		}
		lines = append(lines, l)
	}
	rows, err := Read(t.Context(), transaction(t), bytes.NewReader(archive(t, lines...)), Options{Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if want := n + 502; rows.Len() != want {
		t.Errorf("%d rows, want %d", rows.Len(), want)
	}
	last, linked := "", 0
	for it, err := range rows.Items() {
		if err != nil {
			t.Fatal(err)
		}
		if it.Path != "" && publish.ComparePaths(last, it.Path) >= 0 {
			t.Fatalf("%q comes after %q", it.Path, last)
		}
		if last = it.Path; it.Entry.LinkGroup != 0 {
			linked++
		}
	}
	if want := n/1000 + 2; linked < want-1 || linked > want {
		t.Errorf("%d linked files, want about %d", linked, want)
	}
}

func TestDecompress(t *testing.T) {
	plain := archive(t, line{name: "a", typ: tar.TypeReg, target: "hello"})
	var gz, zs bytes.Buffer
	g := gzip.NewWriter(&gz)
	g.Write(plain)
	g.Close()
	z, err := zstd.NewWriter(&zs)
	if err != nil {
		t.Fatal(err)
	}
	z.Write(plain)
	z.Close()
	for name, in := range map[string][]byte{"plain": plain, "gzip": gz.Bytes(), "zstd": zs.Bytes(), "empty": nil} {
		r, err := Decompress(bytes.NewReader(in), 0)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		h := sha256.New()
		wait := r.Sum(h)
		got, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if name != "empty" && !bytes.Equal(got, plain) {
			t.Errorf("%s: other bytes come out", name)
		}
		if wait(); [32]byte(h.Sum(nil)) != sha256.Sum256(got) {
			t.Errorf("%s: the sum is of other bytes", name)
		}
	}
}

func TestReadCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Read(ctx, transaction(t), bytes.NewReader(archive(t, line{name: "a", typ: tar.TypeReg})), Options{Scratch: t.TempDir()}); err == nil {
		t.Error("a cancelled read went on")
	}
}

// FuzzRead feeds arbitrary bytes as a tar: an error or a tree in order, never a panic.
func FuzzRead(f *testing.F) {
	f.Add(archive(f, line{name: "a/b", typ: tar.TypeReg, target: "x"}, line{name: "c", typ: tar.TypeLink, target: "a/b"}, line{name: "a/.wh.x", typ: tar.TypeReg}))
	f.Add(archive(f, line{name: "a", typ: tar.TypeDir}, line{name: "a/.wh..wh..opq", typ: tar.TypeReg}, line{name: "l", typ: tar.TypeSymlink, target: "a"}))
	sparse := header{name: "s", typ: '0', size: "00000000005"}
	f.Add(append(pax(paxRecord("GNU.sparse.size", "1000000")+paxRecord("GNU.sparse.numblocks", "1")+paxRecord("GNU.sparse.map", "4000,5"), sparse), "data!"...))
	f.Add(pax(paxRecord("size", "9000000000000000000"), sparse))
	tx := transaction(f)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, err := Read(t.Context(), tx, bytes.NewReader(b), Options{Scratch: dir, Whiteouts: true, Max: 32 << 20})
		if err != nil {
			return
		}
		defer rows.Close()
		if err := tx.Replace("/fuzz", func(yield func(publish.Item, error) bool) {
			for it, err := range rows.Items() {
				it.Path = "/fuzz" + it.Path
				if !yield(it, err) {
					return
				}
			}
		}); err != nil && !strings.Contains(err.Error(), "reserved") && !strings.Contains(err.Error(), "without target") {
			t.Errorf("a tree that no transaction takes: %v", err)
		}
	})
}
