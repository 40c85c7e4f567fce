package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// lockName is the file that publishers of a directory lock. It lies beside
// the repository's own files; the kernel drops the lock of a killed process.
const lockName = ".flathub_lock"

// Directory is a Storage in a local directory, laid out and with the modes of
// the official server's local backend: any web server can serve it.
type Directory struct {
	root string
	made sync.Map // data/xx directories known to exist
}

// OpenDirectory returns the storage at root, which Put makes when needed.
func OpenDirectory(root string) (*Directory, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("storage %s: %w", root, err)
	}
	return &Directory{root: abs}, nil
}

func (d *Directory) String() string { return d.root }

func (d *Directory) path(name string) (string, error) {
	if !fs.ValidPath(name) || name == "." {
		return "", fmt.Errorf("%q is no file name of a repository", name)
	}
	return filepath.Join(d.root, filepath.FromSlash(name)), nil
}

// Put writes an object into a file without a name, and links it. Where that cannot be it writes into data/txn, as the official
// backend does, and renames. Content is not synced one by one: the manifest's
// Put flushes the whole file system first, so that no revision ever names an
// object which a power failure could take back.
func (d *Directory) Put(ctx context.Context, name string, r io.Reader, size int64, kind Kind) (err error) {
	dst, err := d.path(name)
	if err != nil {
		return err
	}
	if err := d.makeDirs(dst); err != nil {
		return err
	}
	if kind == Final {
		if err := d.flush(); err != nil {
			return err
		}
	}
	if s, ok := r.(io.ReadSeeker); ok && kind == Data {
		stored, err := putUnnamed(ctx, dst, s, size)
		if err != nil {
			return fmt.Errorf("store %s in %s: %w", name, d.root, err)
		}
		if stored {
			return nil
		}
	}
	tmp, err := d.writeTemp(ctx, name, r, size, kind != Data)
	if err != nil {
		return fmt.Errorf("store %s in %s: %w", name, d.root, err)
	}
	if err := os.Rename(tmp, dst); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("store %s: %w", name, err)
	}
	if kind != Data {
		return syncDir(filepath.Dir(dst))
	}
	return nil
}

func (d *Directory) makeDirs(dst string) error {
	for _, dir := range []string{filepath.Dir(dst), filepath.Join(d.root, "data", "txn")} {
		if _, ok := d.made.Load(dir); ok {
			continue
		}
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return fmt.Errorf("storage %s: %w", d.root, err)
		}
		d.made.Store(dir, true)
	}
	return nil
}

// topDirectory is FS_TOPDIR_FL of linux/fs.h, the T of chattr.
const topDirectory = 0x20000

// spread has ext4 place the directories in dir apart from each other, as it does with those of a file system's root: objects
// have nothing in common but the first digits of their names. In one group of inodes each new file waits for the group's
// lock, and where there is no journal it looks at every inode of the group that was freed within five minutes (recently_deleted
// in ext4's ialloc.c): after the removal of a large tree that made a conversion half as long again. Other file systems refuse.
func spread(dir string) {
	f, err := os.Open(dir)
	if err != nil {
		return
	}
	defer f.Close()
	if flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS); err == nil {
		_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags|topDirectory))
	}
}

func (d *Directory) writeTemp(ctx context.Context, name string, r io.Reader, size int64, durable bool) (tmp string, err error) {
	f, err := createTemp(filepath.Join(d.root, "data", "txn"), path.Base(name))
	if err != nil {
		return "", err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := copyExactly(ctx, f, r, size); err != nil {
		return "", err
	}
	switch {
	case durable:
		err = f.Sync()
	case size >= writeSoon:
		startWriting(f)
	}
	return f.Name(), err
}

// putUnnamed stores an object in a file that has no name until it is whole. That takes the lock of no directory that all wait
// for, and a killed run leaves nothing. It answers false, with r where it was, if another way is needed: NFS and some FUSE file
// systems have no such files, /proc may be missing, and a link replaces nothing.
func putUnnamed(ctx context.Context, dst string, r io.ReadSeeker, size int64) (stored bool, err error) {
	fd, err := unix.Open(filepath.Dir(dst), unix.O_WRONLY|unix.O_TMPFILE|unix.O_CLOEXEC, 0o666)
	if err != nil {
		return false, nil // if more than this is wrong, the other way tells
	}
	f := os.NewFile(uintptr(fd), dst)
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil && stored {
			os.Remove(dst)
		}
	}()
	if err := copyExactly(ctx, f, r, size); err != nil {
		return false, err
	}
	if size >= writeSoon {
		startWriting(f)
	}
	if unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, dst, unix.AT_SYMLINK_FOLLOW) != nil {
		_, err = r.Seek(-size, io.SeekCurrent)
		return false, err
	}
	return true, nil
}

// copyExactly writes what must be size bytes.
func copyExactly(ctx context.Context, f *os.File, r io.Reader, size int64) error {
	n, err := io.Copy(f, r)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes instead of %d", n, size)
	}
	return err
}

// writeSoon is the size of objects whose way to the disk begins at once.
const writeSoon = 256 << 10

// startWriting has the kernel begin to write f and waits for nothing: the disk works while the next objects are made, not
// while the flush before the manifest waits for it. A file system that cannot do it will write later.
func startWriting(f *os.File) {
	_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
}

// createTemp is os.CreateTemp with the mode that the umask allows: the web
// server runs as another user, 0600 would hide every object from it.
func createTemp(dir, base string) (*os.File, error) {
	for range 100 {
		name := filepath.Join(dir, fmt.Sprintf("%s.%08x", base, rand.Uint32()))
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
	return nil, fmt.Errorf("no free temporary name in %s", dir)
}

func (d *Directory) flush() error {
	f, err := os.Open(d.root)
	if err != nil {
		return fmt.Errorf("storage %s: %w", d.root, err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("flush %s to disk: %w", d.root, err)
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// Get opens the file of that name.
func (d *Directory) Get(_ context.Context, name string) (io.ReadCloser, error) {
	p, err := d.path(name)
	if err != nil {
		return nil, err
	}
	return os.Open(p)
}

// Has answers the size of the file of that name.
func (d *Directory) Has(_ context.Context, name string) (int64, bool, error) {
	p, err := d.path(name)
	if err != nil {
		return 0, false, err
	}
	st, err := os.Lstat(p)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, false, nil
	case err != nil:
		return 0, false, err
	}
	return st.Size(), st.Mode().IsRegular(), nil
}

// Delete removes the file of that name.
func (d *Directory) Delete(_ context.Context, name string) error {
	p, err := d.path(name)
	if err != nil {
		return err
	}
	if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// List visits all files below the directory part of prefix.
func (d *Directory) List(ctx context.Context, prefix string) iter.Seq2[FileInfo, error] {
	return func(yield func(FileInfo, error) bool) {
		start := filepath.Join(d.root, filepath.FromSlash(path.Dir(prefix+"x")))
		err := filepath.WalkDir(start, func(p string, e fs.DirEntry, err error) error {
			if err == nil {
				err = ctx.Err()
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil // the start itself, or deleted meanwhile
			}
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			name, err := filepath.Rel(d.root, p)
			if err != nil || !strings.HasPrefix(name, prefix) {
				return err
			}
			st, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if !yield(FileInfo{filepath.ToSlash(name), st.Size(), st.ModTime()}, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(FileInfo{}, fmt.Errorf("list %s: %w", d.root, err))
		}
	}
}

// Lock takes an flock on a file in the directory.
func (d *Directory) Lock(context.Context) (Lease, error) {
	if err := os.MkdirAll(d.root, 0o777); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(d.root, lockName), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("lock storage: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return flock{f}, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("lock %s: %w", d.root, ErrLocked)
	}
	return nil, fmt.Errorf("lock %s: %w", d.root, err)
}

type flock struct{ f *os.File }

func (flock) Valid(context.Context) error { return nil }
func (l flock) Release() error            { return l.f.Close() }
