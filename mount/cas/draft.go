package cas

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const tempPattern = "flatrun-*" // below txn/; the official client leaves foreign names there alone

// memoryMax is the largest object that is kept in memory when the cache cannot take it.
const memoryMax = 64 << 20

// checksumName is the extended attribute with the CRC-32C and the size of an object's file. The hash in its name is that of
// the compressed form, which cannot be remade from the file, so this is what Verify has to go by.
const checksumName = "user.flatrun.crc32c"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// draft is an object on its way into the cache. It is a file in txn/ as long as that works; when the cache is full, gone or
// not wanted it becomes a file without a name, so that the bytes can be served all the same.
type draft struct {
	c      *Cache // nil: not meant for a cache
	o      Object
	f      *os.File
	named  bool // in txn/
	n      int64
	crc    uint32
	reason error // why it is not in txn/
}

// newDraft starts an object. c may be nil.
func newDraft(c *Cache, o Object) (*draft, error) {
	d := &draft{c: c, o: o}
	if c != nil && !c.cfg.ReadOnly && c.reserve(o) {
		f, err := c.createTemp()
		if err == nil {
			d.f, d.named = f, true
			return d, nil
		}
		d.reason = err
		c.log.Warn("cache cannot take objects; serving without it", "err", err)
	}
	f, err := anonymous(o.Size)
	d.f = f
	return d, err
}

// createTemp makes a file in txn/. It is locked as long as its process lives, so that others can tell it from a stale one.
func (c *Cache) createTemp() (*os.File, error) {
	dir := filepath.Join(c.cfg.Dir, txnDir)
	f, err := os.CreateTemp(dir, tempPattern)
	if errors.Is(err, fs.ErrNotExist) { // somebody removed the cache: make it anew
		if err = c.makeDirs(); err == nil {
			f, err = os.CreateTemp(dir, tempPattern)
		}
	}
	if err != nil {
		return nil, err
	}
	unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) // where there are no locks, age decides
	return f, nil
}

// removeStale removes what killed processes have left in txn/.
func (c *Cache) removeStale() {
	names, _ := filepath.Glob(filepath.Join(c.cfg.Dir, txnDir, tempPattern))
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		st, err := f.Stat()
		// A young file may be about to be locked.
		if err == nil && time.Since(st.ModTime()) > time.Minute {
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
			if err == nil || err != unix.EWOULDBLOCK && time.Since(st.ModTime()) > 24*time.Hour {
				os.Remove(name)
			}
		}
		f.Close()
	}
}

// anonymous makes a file that ends with its last descriptor: in memory if it is small, else in the directory for
// temporary files. size is -1 if unknown.
func anonymous(size int64) (*os.File, error) {
	if size >= 0 && size <= memoryMax {
		if fd, err := unix.MemfdCreate("flatrun-object", unix.MFD_CLOEXEC); err == nil {
			return os.NewFile(uintptr(fd), "flatrun-object"), nil
		}
	}
	f, err := os.CreateTemp("", tempPattern)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Write appends decompressed bytes. An error of the cache's file system moves the draft out of the cache.
func (d *draft) Write(p []byte) (int, error) {
	n, err := d.f.Write(p)
	if err != nil && d.named {
		if err = d.leave(d.n+int64(n), err); err == nil {
			var m int
			m, err = d.f.Write(p[n:])
			n += m
		}
	}
	d.n += int64(n)
	d.crc = crc32.Update(d.crc, castagnoli, p[:n])
	return n, err
}

// leave goes on in an anonymous file, with the n bytes that were written.
func (d *draft) leave(n int64, reason error) error {
	f, err := anonymous(d.o.Size)
	if err != nil {
		return errors.Join(reason, err)
	}
	if _, err := io.Copy(f, io.NewSectionReader(d.f, 0, n)); err != nil {
		f.Close()
		return errors.Join(reason, err)
	}
	d.c.log.Warn("cache cannot take the object; serving without it", "object", d.o.String(), "err", reason)
	d.discard()
	d.f, d.named, d.reason = f, false, reason
	return nil
}

// Reset drops what was written.
func (d *draft) Reset() error {
	d.n, d.crc = 0, 0
	if err := d.f.Truncate(0); err != nil {
		return err
	}
	_, err := d.f.Seek(0, io.SeekStart)
	return err
}

// errLost says that the file system took the bytes and then could not keep them, as NFS does when the server's disk is full.
var errLost = errors.New("cache lost the object while writing it")

// commit gives the object its name in the cache, if it is meant for it, and opens it for reading; cached tells whether it
// has a name. The caller has verified it. The draft is gone afterwards.
func (d *draft) commit() (f *os.File, cached bool, err error) {
	defer d.discard()
	if !d.named {
		f, err := Reopen(d.f)
		return f, false, err
	}
	fd, err := openFile(d.f.Name(), unix.O_RDONLY)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %s: %w", errLost, d.f.Name(), err)
	}
	f = os.NewFile(uintptr(fd), d.c.path(d.o.Hash))
	if err := d.seal(); err != nil {
		f.Close()
		d.reason = err
		return nil, false, fmt.Errorf("%w: %w", errLost, err)
	}
	if limit := d.c.cfg.Limit; limit > 0 && d.n > limit && !d.c.cfg.Shared {
		return f, false, nil // its size was not known before: everything else would have to go, and then it as well
	}
	if d.reason = d.publish(); d.reason != nil {
		d.c.log.Warn("cache cannot keep the object; serving without it", "object", d.o.String(), "err", d.reason)
		return f, false, nil
	}
	return f, true, nil
}

// seal ends writing. An object of unknown size goes to the disk now, for later a crash's damage could not be told by its size.
func (d *draft) seal() error {
	fd := int(d.f.Fd())
	unix.Fsetxattr(fd, checksumName, checksum(d.crc, d.n), 0) // not every file system can
	err := unix.Fchmod(fd, d.c.mode(d.o.Pinned))
	if err == nil && d.o.Size < 0 {
		err = d.f.Sync()
	}
	return errors.Join(err, d.f.Close())
}

// publish renames the file into its place. An object that somebody else has put there meanwhile stays.
func (d *draft) publish() error {
	err := rename(d.f.Name(), d.c.path(d.o.Hash))
	if errors.Is(err, fs.ErrNotExist) {
		if err := d.c.makeDirOf(d.o.Hash); err != nil {
			return err
		}
		err = rename(d.f.Name(), d.c.path(d.o.Hash))
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		d.named = false // nothing is left to discard in txn/
		d.c.account(d.n, 1)
	}
	return err
}

// rename refuses to replace, where the file system can.
func rename(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL || err == unix.ENOSYS {
		return os.Rename(from, to)
	}
	return err
}

// discard removes the draft.
func (d *draft) discard() {
	if d.named {
		os.Remove(d.f.Name())
	}
	d.f.Close()
}

// Reopen opens the same file once more, for reading and with an offset of its own.
func Reopen(f *os.File) (*os.File, error) {
	fd, err := openFile("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), unix.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

func checksum(crc uint32, size int64) []byte {
	return fmt.Appendf(nil, "%08x %d", crc, size)
}
