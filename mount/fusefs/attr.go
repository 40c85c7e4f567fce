package fusefs

import (
	"math"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/repo"
)

// forever is the time-out of everything the kernel is told: what an id means never changes unless Update says so. The
// kernel takes about 2^63 ticks; a hundred years is safely below.
const forever = 100 * 365 * 24 * time.Hour

const blockSize = 4096

// attr fills the attributes of e as the official client presents them (its directory_entry.h): the number of blocks is
// 1 + size/512, and all three times are the modification time. The owner is the one the file system presents.
func (fs *FS) attr(st *state, e *catalog.Entry, inode uint64, out *fuse.Attr) {
	size := uint64(e.StatSize())
	if e.IsSymlink() {
		size = uint64(len(target(st, e)))
	}
	sec, nsec := uint64(e.Mtime), uint32(max(e.MtimeNsec, 0))
	*out = fuse.Attr{
		Ino: inode, Size: size, Blocks: 1 + size/512, Blksize: blockSize,
		Atime: sec, Mtime: sec, Ctime: sec, Atimensec: nsec, Mtimensec: nsec, Ctimensec: nsec,
		Mode: e.Mode, Nlink: e.LinkCount,
		Owner: fuse.Owner{Uid: fs.uid, Gid: fs.gid},
	}
	if e.IsDevice() {
		out.Rdev = encodeDevice(e.Rdev())
	}
}

// encodeDevice turns a 64-bit dev_t into the kernel's 32-bit one, which the protocol carries.
func encodeDevice(dev uint64) uint32 {
	major, minor := unix.Major(dev), unix.Minor(dev)
	if dev > math.MaxUint32 && minor > 0xfffff {
		minor &= 0xfffff
	}
	return minor&0xff | major<<8 | (minor&^0xff)<<12
}

// target is the link's target with its variables expanded.
func target(st *state, e *catalog.Entry) string { return st.rev.Readlink(repo.Node{Entry: *e}) }

// sameEntry tells whether nothing about two entries of one name can be seen to differ, their extended attributes aside.
func sameEntry(a, b *catalog.Entry) bool {
	return a.Name == b.Name && a.Mode == b.Mode && a.Size == b.Size && a.Mtime == b.Mtime &&
		max(a.MtimeNsec, 0) == max(b.MtimeNsec, 0) && a.LinkCount == b.LinkCount && (a.LinkGroup == 0) == (b.LinkGroup == 0) &&
		a.Symlink == b.Symlink && a.Hash == b.Hash && a.Compression == b.Compression && a.HasXattrs == b.HasXattrs &&
		a.UID == b.UID && a.GID == b.GID && a.Flags&seen == b.Flags&seen
}

// seen are the flags that a user can see the effect of.
const seen = catalog.Directory | catalog.File | catalog.Symlink | catalog.Special | catalog.Chunked | catalog.External |
	catalog.Hidden
