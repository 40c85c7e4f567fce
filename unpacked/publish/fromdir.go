package publish

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/catalog"
)

// readAhead is how many entries of a directory tree are on their way at once:
// enough to keep all cores at work on small files.
const readAhead = 256

// Directory yields the directory dir of this machine as the subtree at path,
// for Replace, and ingests its files on the way. Sockets are left out. Hard
// links are kept where all is in one directory; elsewhere they share content.
func (tx *Tx) Directory(ctx context.Context, dir, path string) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		w := &dirWalk{ctx: ctx, tx: tx, yield: yield}
		err := w.entry(dir, path)
		for err == nil && len(w.queue) > 0 {
			err = w.emit()
		}
		if err != nil && !errors.Is(err, errEnough{}) {
			yield(Item{}, err)
		}
	}
}

// dirWalk goes through a directory tree in path order. Items queue until their
// content is stored.
type dirWalk struct {
	ctx   context.Context
	tx    *Tx
	yield func(Item, error) bool
	queue []pendingItem
	links map[inode]uint32 // hard-link groups

	names, value [64 << 10]byte // of attributes: the kernel's bounds
}

type pendingItem struct {
	item    Item
	content *Pending
}

type inode struct{ dev, ino uint64 }

func (w *dirWalk) entry(file, path string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(file, &st); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	p := pendingItem{item: Item{Path: path, Entry: catalog.Entry{
		Mode: st.Mode, UID: st.Uid, GID: st.Gid, Mtime: st.Mtim.Sec, MtimeNsec: int32(st.Mtim.Nsec),
	}}}
	if st.Mtim.Nsec == 0 {
		p.item.Entry.MtimeNsec = -1 // as whole seconds are written
	}
	if err := w.fill(&p, file, &st); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
		w.tx.o.Log.Warn("socket left out", "file", file)
		return nil
	}
	w.queue = append(w.queue, p)
	if len(w.queue) > readAhead {
		if err := w.emit(); err != nil {
			return err
		}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	names, err := os.ReadDir(file) // sorted by bytes, as catalogs are
	if err != nil {
		return err
	}
	for _, e := range names {
		if err := w.entry(filepath.Join(file, e.Name()), path+"/"+e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// fill adds what the type of the file calls for.
func (w *dirWalk) fill(p *pendingItem, file string, st *unix.Stat_t) (err error) {
	e := &p.item.Entry
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		if p.content, err = w.content(file, st); err != nil {
			return err
		}
		if st.Nlink > 1 {
			e.LinkGroup = w.group(st)
		}
	case unix.S_IFLNK:
		if e.Symlink, err = os.Readlink(file); err != nil {
			return err
		}
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Size = int64(st.Rdev)
	}
	e.Xattrs, err = w.xattrs(file)
	return err
}

func (w *dirWalk) content(file string, st *unix.Stat_t) (_ *Pending, err error) {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return w.tx.Start(w.ctx, f, st.Size)
}

func (w *dirWalk) group(st *unix.Stat_t) uint32 {
	if w.links == nil {
		w.links = map[inode]uint32{}
	}
	k := inode{st.Dev, st.Ino}
	if w.links[k] == 0 {
		w.links[k] = uint32(len(w.links) + 1)
	}
	return w.links[k]
}

// xattrs reads the attributes that a catalog can hold. Labels of the machine's
// own security policy mean nothing elsewhere.
func (w *dirWalk) xattrs(file string) (map[string][]byte, error) {
	n, err := unix.Llistxattr(file, w.names[:])
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("extended attributes: %w", err)
	}
	var all map[string][]byte
	for name := range strings.SplitSeq(strings.TrimSuffix(string(w.names[:n]), "\x00"), "\x00") {
		if name == "" || name == "security.selinux" {
			continue
		}
		m, err := unix.Lgetxattr(file, name, w.value[:])
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("extended attribute %s: %w", name, err)
		}
		if m > 255 || len(name) > 255 || len(all) == 255 {
			w.tx.o.Log.Warn("extended attribute is too large for a catalog and left out", "file", file, "attribute", name, "bytes", m)
			continue
		}
		if all == nil {
			all = map[string][]byte{}
		}
		all[name] = append([]byte(nil), w.value[:m]...)
	}
	return all, nil
}

// emit yields the first item of the queue.
func (w *dirWalk) emit() error {
	p := w.queue[0]
	w.queue = w.queue[1:]
	if p.content != nil {
		c, err := p.content.Wait()
		if err != nil {
			return fmt.Errorf("store %s: %w", p.item.Path, err)
		}
		c.Apply(&p.item)
	}
	if !w.yield(p.item, nil) {
		return errEnough{}
	}
	return nil
}
