package catalog

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/cas"
)

// ErrCorrupt marks a catalog whose content breaks the format, although its
// bytes carry the right hash.
var ErrCorrupt = errors.New("corrupt catalog")

// Flags say what an entry is. The hash and compression bits of the column are
// not part of it: they are the entry's Algorithm and Compression.
type Flags uint32

// The flags of the catalog table. A symbolic link also carries File, and so
// does a special file.
const (
	Directory   Flags = 1
	NestedMount Flags = 2  // a child catalog starts here; the entry is the parent's copy
	File        Flags = 4  // regular file
	Symlink     Flags = 8  // stored as 12
	Special     Flags = 16 // device, fifo, socket; stored as 20
	NestedRoot  Flags = 32 // the child catalog's own copy of where it starts
	Chunked     Flags = 64
	External    Flags = 128
	BindMount   Flags = 0x4000
	Hidden      Flags = 0x8000 // found by name, not listed
	DirectIO    Flags = 0x10000
)

const (
	algorithmShift   = 8
	algorithmMask    = 7
	compressionShift = 11
	compressionMask  = 7
	columnBits       = Flags(algorithmMask<<algorithmShift | compressionMask<<compressionShift)
)

// The longest name and link target that the kernel takes.
const (
	maxName = 255
	maxLink = 4095
)

// Entry is one row of the catalog table.
type Entry struct {
	Row          int64 // SQLite's row id: the entry's identity within its catalog
	Path, Parent PathHash
	Name         string   // "" for the repository's root
	Symlink      string   // the raw target, variables not expanded
	Hash         cas.Hash // of the stored object; zero for directories, links and most chunked files
	Compression  cas.Compression
	Algorithm    cas.Algorithm // of Hash and of the chunks
	Size         int64         // bytes; for devices the rdev, see Rdev
	Mode         uint32        // st_mode with its type bits
	Mtime        int64         // seconds since 1970, negative before
	MtimeNsec    int32         // 0–999999999, -1 where the catalog has none
	Flags        Flags
	UID, GID     uint32 // the repository's own
	LinkCount    uint32 // st_nlink, at least 1
	LinkGroup    uint32 // 0: not hard-linked; else a number unique within the catalog
	Xattrs       map[string][]byte
	HasXattrs    bool
}

// SetPath fills Path, Parent and Name from the absolute path p.
func (e *Entry) SetPath(p string) {
	e.Path, e.Parent = HashPath(p), HashParent(p)
	e.Name = p[strings.LastIndexByte(p, '/')+1:]
}

// IsDir and its siblings look at the mode.
func (e *Entry) IsDir() bool     { return e.Mode&unix.S_IFMT == unix.S_IFDIR }
func (e *Entry) IsRegular() bool { return e.Mode&unix.S_IFMT == unix.S_IFREG }
func (e *Entry) IsSymlink() bool { return e.Mode&unix.S_IFMT == unix.S_IFLNK }

// IsDevice tells a character or block device.
func (e *Entry) IsDevice() bool {
	t := e.Mode & unix.S_IFMT
	return t == unix.S_IFCHR || t == unix.S_IFBLK
}

// Rdev is the device number, 0 for anything but a device: the format keeps it
// in the size column.
func (e *Entry) Rdev() uint64 {
	if e.IsDevice() {
		return uint64(e.Size)
	}
	return 0
}

// StatSize is st_size: 0 for devices, the length of the raw target for links.
func (e *Entry) StatSize() int64 {
	switch {
	case e.IsDevice():
		return 0
	case e.IsSymlink():
		return int64(len(e.Symlink))
	}
	return e.Size
}

// column is the flags column: the flags, and the algorithm and compression
// where there is content they describe.
func (e *Entry) column() int64 {
	f := e.Flags &^ columnBits
	if (!e.Hash.IsZero() || f&Chunked != 0) && e.Algorithm > 0 {
		f |= Flags(e.Algorithm-1) << algorithmShift
	}
	return int64(f | Flags(e.Compression)<<compressionShift)
}

// setColumn is the reverse of column.
func (e *Entry) setColumn(v int64) error {
	f := Flags(v)
	e.Algorithm = cas.Algorithm(f>>algorithmShift&algorithmMask) + 1
	e.Compression = cas.Compression(f >> compressionShift & compressionMask)
	e.Flags = f &^ columnBits
	if e.Algorithm > cas.SHAKE128 {
		return fmt.Errorf("hash algorithm %d is unknown", e.Algorithm)
	}
	if e.Compression > cas.None {
		return fmt.Errorf("compression %d is unknown", e.Compression)
	}
	return nil
}

// check refuses what no publisher writes and what must not reach the kernel. It
// guards both ways: rows that are read and entries that are written.
func (e *Entry) check() error {
	if err := checkName(e.Name); err != nil {
		return err
	}
	if e.MtimeNsec < -1 || e.MtimeNsec >= 1e9 {
		return fmt.Errorf("nanoseconds %d are out of range", e.MtimeNsec)
	}
	if e.Size < 0 && !e.IsDevice() {
		return fmt.Errorf("size %d is negative", e.Size)
	}
	return e.checkType()
}

func checkName(name string) error {
	switch {
	case len(name) > maxName:
		return fmt.Errorf("name of %d bytes is too long", len(name))
	case name == "." || name == "..", strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("name %q is not a file name", name)
	}
	return nil
}

// checkType compares the mode with the flags: one of them decides what the
// kernel sees, the other what we serve.
func (e *Entry) checkType() error {
	var want Flags
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		want = Directory
	case unix.S_IFREG:
		want = File
	case unix.S_IFLNK:
		want = File | Symlink
	case unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO, unix.S_IFSOCK:
		want = File | Special
	}
	// Catalogs older than revision 5 store special files as plain ones.
	got := e.Flags & (Directory | File | Symlink | Special)
	if want == 0 || got != want && got != want&^Special {
		return fmt.Errorf("mode %#o does not fit flags %#x", e.Mode, e.Flags)
	}
	if e.IsSymlink() && (len(e.Symlink) > maxLink || strings.ContainsRune(e.Symlink, 0)) {
		return fmt.Errorf("link target of %d bytes is not a path", len(e.Symlink))
	}
	content := Chunked | External
	if e.Flags&content != 0 && !e.IsRegular() || e.Flags&(NestedMount|NestedRoot|BindMount) != 0 && !e.IsDir() {
		return fmt.Errorf("flags %#x do not fit a file of mode %#o", e.Flags, e.Mode)
	}
	if e.IsRegular() && e.Hash.IsZero() && e.Flags&content == 0 {
		return errors.New("regular file has no content hash")
	}
	return nil
}
