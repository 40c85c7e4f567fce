package cas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	usageFile = "flatrun.usage" // the running estimate, shared by all processes
	lockFile  = "flatrun.lock"  // held while cleaning

	// rescanAfter is how long the estimate is trusted: killed processes and other clients make it drift.
	rescanAfter = 24 * time.Hour
	// bigObject is the size from which room is made before an object is fetched and not after it.
	bigObject = 25 << 20
)

// usage is what the cache is believed to hold.
type usage struct {
	bytes, objects int64
	scanned        int64 // seconds since 1970 of the last count; 0 never
}

func (u usage) stale() bool {
	age := time.Since(time.Unix(u.scanned, 0))
	return age > rescanAfter || age < -rescanAfter
}

// managed tells whether the cache keeps an estimate: read-only and foreign ones do not.
func (c *Cache) managed() bool { return !c.cfg.ReadOnly && !c.cfg.Shared }

// updateUsage changes the estimate under a lock. The file has one length from its first write on, so that a full disk does
// not get in the way; an unreadable one counts as never counted.
func (c *Cache) updateUsage(change func(*usage)) (u usage, err error) {
	flags := os.O_RDWR
	if change != nil {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(filepath.Join(c.cfg.Dir, usageFile), flags, 0o600)
	if change == nil && errors.Is(err, fs.ErrNotExist) {
		return usage{}, nil
	}
	if err != nil {
		return usage{}, err
	}
	defer f.Close()
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); err != unix.EINTR {
			break // without locks an addition may be lost, which the next scan mends
		}
	}
	var b [128]byte
	n, err := f.ReadAt(b[:], 0)
	if err != nil && err != io.EOF {
		return usage{}, err
	}
	if _, err := fmt.Sscan(string(b[:n]), &u.bytes, &u.objects, &u.scanned); err != nil {
		u = usage{}
	}
	if change == nil {
		return u, nil
	}
	change(&u)
	u.bytes, u.objects = max(u.bytes, 0), max(u.objects, 0)
	_, err = f.WriteAt(fmt.Appendf(nil, "%20d %20d %20d\n", u.bytes, u.objects, u.scanned), 0)
	return u, err
}

// counted sets the estimate to what was counted.
func (c *Cache) counted(bytes, objects int64) {
	if !c.managed() {
		return
	}
	_, err := c.updateUsage(func(u *usage) { *u = usage{bytes, objects, time.Now().Unix()} })
	if err != nil {
		c.log.Debug("cache estimate not updated", "err", err)
	}
}

// account adds to the estimate.
func (c *Cache) account(bytes, objects int64) {
	if !c.managed() {
		return
	}
	_, err := c.updateUsage(func(u *usage) { u.bytes += bytes; u.objects += objects })
	if err != nil {
		c.log.Debug("cache estimate not updated", "err", err)
	}
}

// Usage returns how many bytes in how many objects the cache holds: the shared estimate if there is one, else a count.
func (c *Cache) Usage() (bytes, objects int64, err error) {
	if c.managed() {
		if u, err := c.updateUsage(nil); err == nil && !u.stale() {
			return u.bytes, u.objects, nil
		}
	}
	err = c.List(context.Background(), func(e Entry) error {
		bytes, objects = bytes+e.Size, objects+1
		return nil
	})
	if err == nil {
		c.counted(bytes, objects)
	}
	return bytes, objects, err
}

// reserve makes room for an object that would not fit, and reports whether it can have a place.
func (c *Cache) reserve(o Object) bool {
	if c.cfg.Limit <= 0 || c.cfg.Shared || o.Size <= bigObject && o.Size <= c.cfg.Limit {
		return true
	}
	if o.Size > c.cfg.Limit {
		return false
	}
	if u, err := c.updateUsage(nil); err == nil && u.bytes+o.Size > c.cfg.Limit {
		c.tidy(context.Background(), min(c.cfg.Limit/2, c.cfg.Limit-o.Size))
	}
	return true
}

// enforce brings the cache below its limit if it is believed to be above. Of several processes one does the work.
func (c *Cache) enforce(ctx context.Context) {
	if c.cfg.Limit <= 0 || !c.managed() {
		return
	}
	u, err := c.updateUsage(nil)
	if err != nil || !u.stale() && u.bytes <= c.cfg.Limit {
		return
	}
	target := c.cfg.Limit
	if u.bytes > c.cfg.Limit {
		target -= c.cfg.Limit / 4 // a scan is to be worth its cost
	}
	c.tidy(ctx, target)
}

// relieve makes some room on a full disk, so that a cache that cannot reach its limit does not keep its oldest objects for ever.
func (c *Cache) relieve(ctx context.Context) {
	if !c.managed() {
		return
	}
	if used, _, err := c.Usage(); err == nil {
		c.tidy(ctx, used-max(used/8, min(used/2, bigObject)))
	}
}

func (c *Cache) tidy(ctx context.Context, target int64) {
	lock, err := c.lock()
	if err != nil { // another process is at it
		return
	}
	defer lock.Close()
	if err := c.evict(ctx, target); err != nil {
		c.log.Warn("cache not cleaned", "err", err)
	}
}

// Clean evicts least recently used objects until at most target bytes are left; pinned ones come last. It waits while
// another process is cleaning. Objects that are in use stay readable for those who have them open.
func (c *Cache) Clean(ctx context.Context, target int64) error {
	if err := c.writable(); err != nil {
		return err
	}
	for {
		lock, err := c.lock()
		if err == nil {
			defer lock.Close()
			return c.evict(ctx, target)
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("clean cache: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("clean cache: another process is cleaning: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// lock takes the lock for cleaning; unix.EWOULDBLOCK if another has it.
func (c *Cache) lock() (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(c.cfg.Dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == unix.EWOULDBLOCK {
		f.Close()
		return nil, err
	}
	return f, nil
}

// evict counts the cache, and removes objects until target is reached. What others add meanwhile stays in the estimate.
func (c *Cache) evict(ctx context.Context, target int64) error {
	before, err := c.updateUsage(nil)
	if err != nil && c.managed() {
		return err
	}
	var all []Entry
	var found usage
	err = c.List(ctx, func(e Entry) error {
		all = append(all, e)
		found.bytes, found.objects = found.bytes+e.Size, found.objects+1
		return nil
	})
	if err != nil {
		return err
	}
	c.removeStale()
	gone, err := c.evictList(ctx, all, found.bytes-target)
	if gone.objects > 0 {
		c.log.Info("cache cleaned", "objects", gone.objects, "bytes", gone.bytes)
	}
	if !c.managed() {
		return err
	}
	_, uerr := c.updateUsage(func(u *usage) {
		u.bytes = found.bytes - gone.bytes + max(u.bytes-before.bytes, 0)
		u.objects = found.objects - gone.objects + max(u.objects-before.objects, 0)
		u.scanned = time.Now().Unix()
	})
	return errors.Join(err, uerr)
}

// evictList removes the least useful of the entries until excess bytes are gone.
func (c *Cache) evictList(ctx context.Context, all []Entry, excess int64) (gone usage, err error) {
	if excess <= 0 {
		return usage{}, nil
	}
	slices.SortFunc(all, func(a, b Entry) int {
		if a.Pinned != b.Pinned {
			if b.Pinned {
				return -1
			}
			return 1
		}
		return a.Used.Compare(b.Used)
	})
	for _, e := range all {
		if gone.bytes >= excess {
			break
		}
		if err := ctx.Err(); err != nil {
			return gone, err
		}
		switch err := os.Remove(c.path(e.Hash)); {
		case err == nil, errors.Is(err, fs.ErrNotExist):
			gone.bytes, gone.objects = gone.bytes+e.Size, gone.objects+1
		default:
			return gone, fmt.Errorf("clean cache: %w", err)
		}
	}
	return gone, nil
}
