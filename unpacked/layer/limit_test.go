package layer

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/flatrun/flatrun/unpacked/publish"
)

// smallChunks make large files of small ones.
var smallChunks = publish.ChunkSizes{Min: 64 << 10, Avg: 128 << 10, Max: 256 << 10}

// TestSparse reads what GNU tar makes of a file with holes in each of its formats: the content is the file's, and of the
// holes' chunks, which are alike, one is stored.
func TestSparse(t *testing.T) {
	dir := t.TempDir()
	const size = 3 << 20
	f, err := os.Create(filepath.Join(dir, "holes"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, at := range []int64{4711, size - 5} {
		if _, err := f.WriteAt([]byte("data!"), at); err != nil {
			t.Fatal(err)
		}
	}
	want, err := transactionChunks(t, smallChunks).Ingest(t.Context(), io.NewSectionReader(f, 0, size))
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range [][]string{{"--format=gnu"}, {"--format=posix", "--sparse-version=0.0"},
		{"--format=posix", "--sparse-version=0.1"}, {"--format=posix", "--sparse-version=1.0"}} {
		t.Run(strings.Join(format, " "), func(t *testing.T) {
			in, err := exec.Command("tar", append(format, "-C", dir, "--sparse", "--hole-detection=raw", "-cf", "-", "holes")...).Output()
			if err != nil {
				t.Fatal(err)
			}
			if len(in) > 256<<10 {
				t.Fatalf("the tar has %d bytes: it is not sparse", len(in))
			}
			tx := transactionChunks(t, smallChunks)
			got := onlyFile(t, tx, bytes.NewReader(in))
			if stored := tx.Stats.Stored.Load(); got.Entry.Size != size || stored > 5 {
				t.Errorf("%d bytes in %d objects", got.Entry.Size, stored)
			}
			if fmt.Sprint(got.Chunks) != fmt.Sprint(want.Chunks) || len(want.Chunks) < 12 {
				t.Errorf("chunks %v, want %v", got.Chunks, want.Chunks)
			}
		})
	}
}

// onlyFile reads a tar of one file.
func onlyFile(t *testing.T, tx *publish.Tx, in io.Reader) publish.Item {
	t.Helper()
	files := filesOf(t, tx, in, nil)
	if len(files) != 1 {
		t.Fatalf("%d files in the tar, want 1", len(files))
	}
	return files[0]
}

// filesOf reads a tar, which may be that of a source, and returns its regular files.
func filesOf(t *testing.T, to Ingester, in io.Reader, source *Plain) (files []publish.Item) {
	t.Helper()
	rows, err := Read(t.Context(), to, in, Options{Scratch: t.TempDir(), Source: source})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for it, err := range rows.Items() {
		if err != nil {
			t.Fatal(err)
		}
		if it.Entry.IsRegular() {
			files = append(files, it)
		}
	}
	return files
}

// TestZeros reads a file of nothing but zeros, which gzip makes a thousandth of: no bomb, and two objects.
func TestZeros(t *testing.T) {
	const size = 16<<20 + 77
	var in bytes.Buffer
	z := gzip.NewWriter(&in)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Size: size}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, zeroReader{}, size); err != nil {
		t.Fatal(err)
	}
	w.Close()
	z.Close()
	plain, err := Decompress(&in, 0)
	if err != nil {
		t.Fatal(err)
	}
	tx := transactionChunks(t, smallChunks)
	if got := onlyFile(t, tx, plain); got.Entry.Size != size || len(got.Chunks) != 65 {
		t.Errorf("%d bytes in %d chunks", got.Entry.Size, len(got.Chunks))
	}
	if stored := tx.Stats.Stored.Load(); stored > 3 { // workers may make the same one at once
		t.Errorf("%d objects stored", stored)
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// header is one block of a tar as a bad writer may make it.
type header struct {
	name, magic, size string // size: octal digits, or 12 bytes of the binary form
	typ               byte
	change            func(b []byte)
}

// block is the header with the right checksum.
func (h header) block() []byte {
	b := make([]byte, 512)
	copy(b, h.name)
	copy(b[100:], "0000644\x000000000\x000000000\x00")
	copy(b[124:136], h.size)
	copy(b[136:], "00000000000\x00        ")
	b[156] = h.typ
	if copy(b[257:], h.magic); h.magic == "" {
		copy(b[257:], "ustar\x0000")
	}
	if h.change != nil {
		h.change(b)
	}
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// pax is an entry of PAX records, as raw text, and the header they belong to.
func pax(records string, h header) []byte {
	x := header{name: "pax", typ: 'x', size: fmt.Sprintf("%011o", len(records))}.block()
	x = append(x, records...)
	x = append(x, make([]byte, -len(x)&511)...)
	return append(x, h.block()...)
}

// paxRecord is one PAX record with its length.
func paxRecord(key, value string) string {
	n := len(key) + len(value) + 3
	for n != len(fmt.Sprintf("%d %s=%s\n", n, key, value)) {
		n = len(fmt.Sprintf("%d %s=%s\n", n, key, value))
	}
	return fmt.Sprintf("%d %s=%s\n", n, key, value)
}

// binarySize is a size in the form for numbers of more than 33 bits.
func binarySize(n int64) string {
	b := make([]byte, 12)
	if n < 0 {
		b = bytes.Repeat([]byte{0xff}, 12)
	}
	binary.BigEndian.PutUint64(b[4:], uint64(n))
	b[0] |= 0x80
	return string(b)
}

// TestAbsurd gives what no honest writer makes: an error that names the entry, at once, and nothing of the kind stored.
func TestAbsurd(t *testing.T) {
	const huge = 1<<63 - 512
	file := header{name: "victim", typ: '0', size: "0"}
	sparse := func(records ...string) []byte { return pax(strings.Join(records, ""), file) }
	tx := transaction(t)
	var many, holes strings.Builder
	for i := range 20_000 {
		many.WriteString(paxRecord(fmt.Sprintf("SCHILY.xattr.user.a%d", i), "v"))
		holes.WriteString(paxRecord("GNU.sparse.offset", fmt.Sprint(i*1024)) + paxRecord("GNU.sparse.numbytes", "0"))
	}
	for _, tt := range []struct {
		name string
		in   []byte
		want string // part of the error; "": it may be a tree
	}{
		{"a size of 8 EiB", header{name: "victim", typ: '0', size: binarySize(huge)}.block(), `"victim": its 9223372036854775296 bytes make more than`},
		{"a negative size", header{name: "victim", typ: '0', size: binarySize(-1)}.block(), "invalid tar header"},
		{"a negative size in PAX", pax(paxRecord("size", "-5"), file), "invalid tar header"},
		{"a directory with a size", header{name: "victim", typ: '5', size: binarySize(huge)}.block(), ""},
		{"sparse 0.0 of 8 EiB", sparse(paxRecord("GNU.sparse.size", fmt.Sprint(huge)), paxRecord("GNU.sparse.numblocks", "1"), paxRecord("GNU.sparse.offset", "0"), paxRecord("GNU.sparse.numbytes", "0")), `"victim": its`},
		{"sparse 0.1 of 8 EiB", sparse(paxRecord("GNU.sparse.name", "victim"), paxRecord("GNU.sparse.size", fmt.Sprint(huge)), paxRecord("GNU.sparse.numblocks", "1"), paxRecord("GNU.sparse.map", "0,0")), `"victim": its`},
		{"sparse 1.0 of 8 EiB", append(pax(paxRecord("GNU.sparse.major", "1")+paxRecord("GNU.sparse.minor", "0")+paxRecord("GNU.sparse.name", "victim")+paxRecord("GNU.sparse.realsize", fmt.Sprint(huge)),
			header{name: "x", typ: '0', size: "1000"}), append([]byte("1\n0\n0\n"), make([]byte, 506)...)...), `"victim": its`},
		{"sparse 1.0 with more pieces than bytes", append(pax(paxRecord("GNU.sparse.major", "1")+paxRecord("GNU.sparse.minor", "0")+paxRecord("GNU.sparse.realsize", "5"),
			header{name: "x", typ: '0', size: "1000"}), append([]byte("9000000000000\n"), make([]byte, 498)...)...), "tar after entry 0"},
		{"old GNU sparse of 8 EiB", header{name: "victim", typ: 'S', size: "0", magic: "ustar  ", change: func(b []byte) { copy(b[483:], binarySize(huge)) }}.block(), `"victim": its`},
		{"sparse pieces that overlap", sparse(paxRecord("GNU.sparse.size", "100"), paxRecord("GNU.sparse.numblocks", "2"), paxRecord("GNU.sparse.map", "0,50,20,50")), "invalid tar header"},
		{"sparse pieces beyond the end", sparse(paxRecord("GNU.sparse.size", "100"), paxRecord("GNU.sparse.numblocks", "1"), paxRecord("GNU.sparse.map", "99,50")), "invalid tar header"},
		{"many empty sparse pieces", sparse(paxRecord("GNU.sparse.size", "100"), paxRecord("GNU.sparse.numblocks", "20000"), holes.String()), "tar after entry 0"},
		{"a PAX record of 2 MiB", pax(paxRecord("SCHILY.xattr.user.a", strings.Repeat("v", 2<<20)), file), "tar after entry 0"},
		{"a PAX header of 8 EiB", header{name: "pax", typ: 'x', size: binarySize(huge)}.block(), "tar after entry 0"},
		{"a long name of 8 EiB", header{name: "long", typ: 'L', size: binarySize(huge)}.block(), "tar after entry 0"},
		{"twenty thousand attributes", pax(many.String(), file), ""},
		{"a zero byte in a PAX path", pax(paxRecord("path", "a\x00b"), file), "tar after entry 0"},
		{"a zero byte in a PAX link", pax(paxRecord("linkpath", "a\x00b"), header{name: "victim", typ: '2', size: "0"}), "tar after entry 0"},
		{"an owner that would become root", header{name: "victim", typ: '0', size: "0", change: func(b []byte) { copy(b[108:116], binarySize(1 << 32)[4:]); b[108] = 0x80 }}.block(), `"victim": owner 4294967296:0`},
		{"cut in the middle of a file", header{name: "victim", typ: '0', size: "1000"}.block(), `"victim": read file: unexpected EOF`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := tx.Stats.Bytes.Load()
			in := append(tt.in, make([]byte, 1024)...)
			if strings.HasPrefix(tt.name, "cut") {
				in = in[:600]
			}
			rows, err := Read(t.Context(), tx, bytes.NewReader(in), Options{Scratch: t.TempDir(), Whiteouts: true})
			if err == nil {
				rows.Close()
			}
			if tt.want == "" {
				if err != nil && !strings.Contains(err.Error(), "victim") {
					t.Errorf("error does not name the entry: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want one with %q", err, tt.want)
			}
			if n := tx.Stats.Bytes.Load() - before; n > 1000 {
				t.Errorf("%d bytes were taken in", n)
			}
		})
	}
}

// TestMax holds a layer to its limit: what it comes to, as a tar, in contents and in entries.
func TestMax(t *testing.T) {
	in := archive(t, line{name: "first", typ: tar.TypeReg, target: strings.Repeat("x", 20<<10)}, line{name: "second", typ: tar.TypeReg, target: strings.Repeat("y", 20<<10)})
	tx := transaction(t)
	read := func(limit int64) error {
		rows, err := Read(t.Context(), tx, bytes.NewReader(in), Options{Scratch: t.TempDir(), Max: limit})
		if err == nil {
			rows.Close()
		}
		return err
	}
	if err := read(48 << 10); err != nil {
		t.Errorf("two files of 20 KiB and a block each, limit 48 KiB: %v", err)
	}
	if err := read(48<<10 - 1); err == nil || !strings.Contains(err.Error(), `"second"`) {
		t.Errorf("a byte more than the limit: %v", err)
	}
	var lines []line
	for i := range 20 {
		lines = append(lines, line{name: fmt.Sprintf("d%d", i), typ: tar.TypeDir})
	}
	in = archive(t, lines...)
	if err := read(41 << 10); err == nil || !strings.Contains(err.Error(), `"d10"`) {
		t.Errorf("more entries than the limit has blocks: %v", err)
	}
}

// TestDecompressMax holds the stream to its limit, which what follows the archive counts against, too.
func TestDecompressMax(t *testing.T) {
	in := append(archive(t, line{name: "a", typ: tar.TypeReg}), make([]byte, 1<<20)...)
	var gz, zs bytes.Buffer
	g := gzip.NewWriter(&gz)
	z, err := zstd.NewWriter(&zs)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.WriteCloser{g, z} {
		w.Write(in)
		w.Close()
	}
	for name, stored := range map[string][]byte{"plain": in, "gzip": gz.Bytes(), "zstd": zs.Bytes()} {
		for limit, ok := range map[int64]bool{int64(len(in)): true, int64(len(in)) - 1: false, 1 << 10: false} {
			r, err := Decompress(bytes.NewReader(stored), limit)
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, r)
			if ok != (err == nil) || n > limit || err != nil && !strings.Contains(err.Error(), "bomb") {
				t.Errorf("%s, limit %d: %d bytes, %v", name, limit, n, err)
			}
			r.Close()
		}
	}
}

// BenchmarkMillion reads a layer of a million entries, half of them files.
func BenchmarkMillion(b *testing.B) {
	if testing.Short() {
		b.Skip("a million entries")
	}
	for b.Loop() {
		r, w := io.Pipe()
		go func() { w.CloseWithError(million(w)) }()
		rows, err := Read(b.Context(), transaction(b), r, Options{Scratch: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(rows.Len()), "rows")
		rows.Close()
	}
}

// million writes the tar: files of a few contents in random order of names.
func million(to io.Writer) error {
	w := tar.NewWriter(to)
	for i := range 1_000_000 {
		n := i * 7919 % 1_000_003
		h := tar.Header{Name: fmt.Sprintf("d%d/e%d/f%d", n%97, n%1009, n), Typeflag: tar.TypeSymlink, Linkname: "target", ModTime: epoch}
		content := ""
		if n%2 == 0 {
			content = fmt.Sprint(n % 100)
			h.Typeflag, h.Linkname, h.Size = tar.TypeReg, "", int64(len(content))
		}
		if err := w.WriteHeader(&h); err != nil {
			return err
		}
		if _, err := io.WriteString(w, content); err != nil {
			return err
		}
	}
	return w.Close()
}
