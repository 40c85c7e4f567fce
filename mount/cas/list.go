package cas

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Entry describes an object in a cache.
type Entry struct {
	Hash    Hash
	Size    int64 // uncompressed bytes
	Created time.Time
	Used    time.Time // last use, exact to a minute
	Pinned  bool
}

// List visits all objects in the order of their hashes' first byte. Objects that come or go meanwhile may be missed.
func (c *Cache) List(ctx context.Context, visit func(Entry) error) error {
	for i := range 256 {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("list cache: %w", err)
		}
		if err := c.listDir(fmt.Sprintf("%02x", i), visit); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("list cache: %w", err)
		}
	}
	return nil
}

func (c *Cache) listDir(prefix string, visit func(Entry) error) error {
	dir, err := os.Open(filepath.Join(c.cfg.Dir, prefix))
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		h, err := ParseHash(prefix + name)
		if err != nil {
			continue // not an object
		}
		var st unix.Stat_t
		if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue // evicted meanwhile
		}
		e := Entry{h, st.Size, time.Unix(st.Mtim.Unix()), time.Unix(st.Atim.Unix()), st.Mode&0o222 == 0}
		if err := visit(e); err != nil {
			return err
		}
	}
	return nil
}

// VerifyReport counts what Verify found.
type VerifyReport struct {
	Good      int64
	Corrupt   []Hash
	Unchecked int64 // the official client put them there, or the file system takes no extended attributes
}

// Verify reads all objects and compares them with the checksum that was taken when they arrived, for a disk that lies. The
// hash in an object's name is that of its compressed form and tells nothing unless the object is stored plain. With repair,
// what does not match is moved to quarantaine/, and is fetched again when it is next wanted. visit, if not nil, sees each
// object before it is read.
func (c *Cache) Verify(ctx context.Context, repair bool, visit func(Entry)) (VerifyReport, error) {
	var r VerifyReport
	err := c.List(ctx, func(e Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if visit != nil {
			visit(e)
		}
		good, known, err := c.check(e.Hash, io.Discard)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err == nil && !known:
			r.Unchecked++
		case err == nil && good:
			r.Good++
		default: // unreadable is as bad as wrong
			r.Corrupt = append(r.Corrupt, e.Hash)
			if repair {
				c.quarantine(e)
			}
		}
		return nil
	})
	return r, err
}

// check copies an object to w and compares it with its checksum; known is false if it has none.
func (c *Cache) check(h Hash, w io.Writer) (good, known bool, err error) {
	f, err := os.OpenFile(c.path(h), os.O_RDONLY|unix.O_NOATIME, 0) // looking is not using
	if errors.Is(err, fs.ErrPermission) {
		f, err = os.Open(c.path(h))
	}
	if err != nil {
		return false, false, err
	}
	defer f.Close()
	crc, sum := crc32.New(castagnoli), h.algorithm.New()
	n, err := io.Copy(io.MultiWriter(crc, sum, w), f)
	if err != nil {
		return false, false, err
	}
	if finish(h.algorithm, sum) == h {
		return true, true, nil
	}
	var want [64]byte
	k, err := unix.Fgetxattr(int(f.Fd()), checksumName, want[:])
	if err != nil {
		return false, false, nil
	}
	return string(want[:k]) == string(checksum(crc.Sum32(), n)), true, nil
}

// quarantine moves an object to where the official client keeps corrupt ones.
func (c *Cache) quarantine(e Entry) {
	if c.cfg.ReadOnly {
		return
	}
	to := filepath.Join(c.cfg.Dir, quarantineDir, e.Hash.String())
	if err := os.Rename(c.path(e.Hash), to); err != nil && os.Remove(c.path(e.Hash)) != nil {
		return
	}
	c.account(-e.Size, -1)
}

// ClearQuarantine removes the objects that Verify has moved away, and returns how many there were.
func (c *Cache) ClearQuarantine() (objects int64, err error) {
	if err := c.writable(); err != nil {
		return 0, err
	}
	names, err := filepath.Glob(filepath.Join(c.cfg.Dir, quarantineDir, "*"))
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			return objects, err
		}
		objects++
	}
	return objects, err
}
