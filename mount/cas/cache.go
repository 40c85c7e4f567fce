package cas

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// CacheConfig says where a cache lies and how large it may become.
type CacheConfig struct {
	Dir   string
	Limit int64 // bytes of all objects together; 0 is unlimited

	// ReadOnly caches are looked at and never changed: a directory that another client fills, or a preloaded one.
	ReadOnly bool
	// Shared is a writable cache of several users or nodes (an "alien" cache): its files belong to the group as well, and
	// no process keeps state in it. Limit does not apply, for nobody could enforce it.
	Shared bool

	Log *slog.Logger // nil discards
}

// Cache is a directory of verified, decompressed objects in the official client's layout: the object with the hash abcdef…
// is the file ab/cdef…. Any number of processes use one directory at the same time; nothing is kept in memory.
//
// An object appears by rename, so it is complete or absent after a crash of the process. After a crash of the machine a
// file may be shorter than it was; where the size is known that is noticed, and objects of unknown size reach the disk
// before they are renamed. The time of last use is the file's atime, the time of arrival its mtime; a file without write
// permission is pinned.
type Cache struct {
	cfg CacheConfig
	log *slog.Logger
}

const (
	txnDir        = "txn"
	quarantineDir = "quarantaine" // spelled so in the official layout
)

// touchAfter is how old an object's time of last use may be before a hit renews it: exact order is worth no system call.
const touchAfter = time.Minute

// OpenCache opens the cache in cfg.Dir, and makes it where it does not exist.
func OpenCache(cfg CacheConfig) (*Cache, error) {
	c := &Cache{cfg: cfg, log: cfg.Log}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dir == "" {
		return nil, errors.New("cache: no directory is given; set cache: {dir: …} in the configuration")
	}
	var err error
	if c.cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, fmt.Errorf("cache %s: %w", cfg.Dir, err)
	}
	if cfg.ReadOnly {
		if _, err := os.ReadDir(filepath.Join(c.cfg.Dir)); err != nil {
			return nil, fmt.Errorf("cache: %w", err)
		}
		return c, nil
	}
	if err := c.makeDirs(); err != nil {
		return nil, fmt.Errorf("cache: %w; choose another directory with cache: {dir: …} in the configuration", err)
	}
	if err := unix.Access(filepath.Join(c.cfg.Dir, txnDir), unix.W_OK|unix.X_OK); err != nil {
		return nil, fmt.Errorf("cache %s: not writable: %w; choose another directory with cache: {dir: …} in the configuration, and name this one under lower: there", c.cfg.Dir, err)
	}
	c.removeStale()
	return c, nil
}

// Dir returns the absolute path of the cache.
func (c *Cache) Dir() string { return c.cfg.Dir }

// makeDirs makes the directories of the layout. Those for the hashes, which take longer to make than a first start has, come
// when they are needed; where others share the cache, now.
func (c *Cache) makeDirs() error {
	_, err := os.Stat(filepath.Join(c.cfg.Dir, txnDir))
	isNew := errors.Is(err, fs.ErrNotExist)
	for _, name := range []string{"", quarantineDir, txnDir} {
		if err := c.mkdir(name); err != nil {
			return err
		}
	}
	if c.cfg.Shared {
		return c.makeHashDirs()
	}
	if _, err := os.Stat(filepath.Join(c.cfg.Dir, "00")); isNew && errors.Is(err, fs.ErrNotExist) {
		c.counted(0, 0) // nothing to count in a new cache
	}
	return nil
}

// makeHashDirs makes the directories for all hashes. ff comes last, as in the official client, which takes it as the sign that
// the others exist.
func (c *Cache) makeHashDirs() error {
	if _, err := os.Stat(filepath.Join(c.cfg.Dir, lastDir)); err == nil {
		return nil
	}
	for i := range 256 {
		if err := c.mkdir(fmt.Sprintf("%02x", i)); err != nil {
			return err
		}
	}
	return nil
}

const lastDir = "ff"

// makeDirOf makes the directory for the objects of a hash.
func (c *Cache) makeDirOf(h Hash) error {
	name := fmt.Sprintf("%02x", h.sum[0])
	if name == lastDir {
		return c.makeHashDirs()
	}
	return c.mkdir(name)
}

func (c *Cache) mkdir(name string) error {
	mode := fs.FileMode(0o700)
	if c.cfg.Shared {
		mode = 0o770
	}
	path := filepath.Join(c.cfg.Dir, name)
	if name == "" {
		if err := os.MkdirAll(filepath.Dir(path), mode); err != nil {
			return err
		}
	}
	err := os.Mkdir(path, mode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil && c.cfg.Shared {
		err = openToGroup(path)
	}
	return err
}

// openToGroup gives the group what the umask has taken, and leaves the bit alone that hands on the group.
func openToGroup(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	return os.Chmod(dir, info.Mode()|0o070)
}

// mode returns the permissions of an object's file.
func (c *Cache) mode(pinned bool) uint32 {
	mode := uint32(0o600)
	if c.cfg.Shared {
		mode = 0o660
	}
	if pinned {
		mode &^= 0o222
	}
	return mode
}

// path returns the name of the object's file.
func (c *Cache) path(h Hash) string {
	b := make([]byte, 0, len(c.cfg.Dir)+2+hexSize+len("-shake128"))
	b = append(append(b, c.cfg.Dir...), '/')
	b = append(hex.AppendEncode(b, h.sum[:1]), '/')
	b = hex.AppendEncode(b, h.sum[1:])
	return string(append(b, h.algorithm.suffix()...))
}

func (c *Cache) writable() error {
	if c.cfg.ReadOnly {
		return fmt.Errorf("cache %s: it is read-only: %w", c.cfg.Dir, fs.ErrPermission)
	}
	return nil
}

// Open opens a cached object; fs.ErrNotExist when the cache does not hold it.
func (c *Cache) Open(h Hash) (*os.File, error) {
	return c.open(Object{Hash: h, Size: -1})
}

// open opens a cached object, and notes the use of it. A file of the wrong size is what a crash of the machine can leave
// behind: it is removed and counts as absent.
func (c *Cache) open(o Object) (*os.File, error) {
	if o.Hash.IsZero() {
		return nil, fmt.Errorf("cache: object without a hash: %w", fs.ErrInvalid)
	}
	path := c.path(o.Hash)
	fd, err := openFile(path, unix.O_RDONLY)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || o.Size >= 0 && st.Size != o.Size {
		unix.Close(fd)
		c.log.Warn("cached object has the wrong size; removing it", "object", o.String(), "size", st.Size, "want", o.Size)
		c.drop(path, o.Size)
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if !c.cfg.ReadOnly {
		c.used(fd, &st, o.Pinned)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// used notes the use of an object, and pins it where that is wanted and not done.
func (c *Cache) used(fd int, st *unix.Stat_t, pinned bool) {
	// A use in the future is one before the clock was set back.
	if now := time.Now(); now.Sub(time.Unix(st.Atim.Unix())).Abs() > touchAfter {
		omit := unix.Timespec{Nsec: unix.UTIME_OMIT}
		unix.UtimesNanoAt(fd, "", []unix.Timespec{unix.NsecToTimespec(now.UnixNano()), omit}, unix.AT_EMPTY_PATH)
	}
	if pinned && st.Mode&0o222 != 0 {
		unix.Fchmod(fd, st.Mode&^0o222&0o7777)
	}
}

// drop removes an object's file, unless the cache is read-only.
func (c *Cache) drop(path string, size int64) {
	if !c.cfg.ReadOnly && os.Remove(path) == nil {
		c.account(-size, -1)
	}
}

// openFile opens without the detour through the poller that os.Open takes.
func openFile(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// has reports whether the cache holds the object.
func (c *Cache) has(o Object) bool {
	var st unix.Stat_t
	err := unix.Stat(c.path(o.Hash), &st)
	return err == nil && (o.Size < 0 || st.Size == o.Size)
}

// Store returns the cache as a Store that holds what it holds, for use as the lower tier of another.
func (c *Cache) Store() Store { return tier{c} }

type tier struct{ c *Cache }

func (t tier) Open(ctx context.Context, o Object) (*os.File, error) { return t.c.open(o) }
