package publish

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
)

// AppendBinary encodes an item for a scratch file: the fields that streams set.
// Only the program that wrote it reads it back.
func (it *Item) AppendBinary(b []byte) ([]byte, error) {
	e := &it.Entry
	b = appendString(b, it.Path)
	b = appendString(b, e.Symlink)
	for _, v := range []int64{int64(e.Mode), int64(e.UID), int64(e.GID), e.Size, e.Mtime, int64(e.MtimeNsec),
		int64(e.Flags), int64(e.LinkGroup), int64(e.Algorithm), int64(e.Compression)} {
		b = binary.AppendVarint(b, v)
	}
	b = appendHash(b, e.Hash)
	b = binary.AppendUvarint(b, uint64(len(e.Xattrs)))
	for _, k := range slices.Sorted(maps.Keys(e.Xattrs)) {
		b = appendString(appendString(b, k), string(e.Xattrs[k]))
	}
	b = binary.AppendUvarint(b, uint64(len(it.Chunks)))
	for _, c := range it.Chunks {
		b = binary.AppendVarint(b, c.Offset)
		b = binary.AppendVarint(b, c.Size)
		b = appendHash(b, c.Hash)
	}
	return b, nil
}

// UnmarshalBinary decodes what AppendBinary wrote.
func (it *Item) UnmarshalBinary(b []byte) error {
	d := decoder{b: b}
	*it = Item{Path: d.string()}
	e := &it.Entry
	e.Symlink = d.string()
	e.Mode, e.UID, e.GID = uint32(d.int()), uint32(d.int()), uint32(d.int())
	e.Size, e.Mtime, e.MtimeNsec = d.int(), d.int(), int32(d.int())
	e.Flags, e.LinkGroup = catalog.Flags(d.int()), uint32(d.int())
	e.Algorithm, e.Compression = cas.Algorithm(d.int()), cas.Compression(d.int())
	e.Hash = d.hash()
	if n := d.count(); n > 0 {
		e.Xattrs = make(map[string][]byte, n)
		for range n {
			k := d.string()
			e.Xattrs[k] = []byte(d.string())
		}
		e.HasXattrs = true
	}
	for range d.count() {
		it.Chunks = append(it.Chunks, catalog.Chunk{Offset: d.int(), Size: d.int(), Hash: d.hash()})
	}
	if d.bad || len(d.b) > 0 {
		return errors.New("item in scratch file is damaged: look for a full or failing disk")
	}
	e.SetPath(it.Path)
	return nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendHash(b []byte, h cas.Hash) []byte {
	if h.IsZero() {
		return append(b, 0)
	}
	return append(append(b, byte(h.Algorithm())), h.Bytes()...)
}

// decoder takes values off the front of b. After the first that is not there
// it is bad and answers zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads a length; nothing is longer than the bytes it is read from.
func (d *decoder) count() int {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > uint64(len(d.b)-n) {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return int(v)
}

func (d *decoder) bytes(n int) []byte {
	if n > len(d.b) {
		d.fail()
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) string() string { return string(d.bytes(d.count())) }

func (d *decoder) hash() cas.Hash {
	a := d.bytes(1)
	if len(a) == 0 || a[0] == 0 {
		return cas.Hash{}
	}
	h, err := cas.NewHash(cas.Algorithm(a[0]), d.bytes(20))
	if err != nil {
		d.fail()
	}
	return h
}

func (d *decoder) fail() { d.b, d.bad = nil, true }

// check refuses an item that no catalog can hold. It fills in the type flags.
func (it *Item) check() error {
	if err := checkPath(it.Path); err != nil {
		return err
	}
	e := &it.Entry
	e.SetPath(it.Path)
	if len(e.Name) > 255 {
		return fmt.Errorf("%q: its name has more than 255 bytes", it.Path)
	}
	if (e.Name == marker || e.Name == autoMarker) && !e.IsRegular() {
		return fmt.Errorf("%q: the name is reserved for the marker of a catalog, which is a regular file", it.Path)
	}
	keep := e.Flags & (catalog.Hidden | catalog.DirectIO)
	switch {
	case e.IsDir():
		e.Flags, e.LinkGroup = keep|catalog.Directory, 0
	case e.IsRegular():
		e.Flags = keep | catalog.File | e.Flags&(catalog.Chunked|catalog.External)
		if e.Hash.IsZero() && len(it.Chunks) == 0 {
			return fmt.Errorf("%q: a regular file without content", it.Path)
		}
	case e.IsSymlink():
		e.Flags, e.Size = keep|catalog.File|catalog.Symlink, int64(len(e.Symlink))
		if e.Symlink == "" {
			return fmt.Errorf("%q: a symbolic link without target", it.Path)
		}
	case e.Mode&unix.S_IFMT == unix.S_IFIFO, e.Mode&unix.S_IFMT == unix.S_IFSOCK, e.IsDevice():
		e.Flags = keep | catalog.File | catalog.Special
	default:
		return fmt.Errorf("%q: mode %#o is that of no file", it.Path, e.Mode)
	}
	if !e.IsRegular() {
		e.Hash, it.Chunks = cas.Hash{}, nil
	}
	return nil
}
