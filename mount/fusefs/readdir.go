package fusefs

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/catalog"
)

// ReadDirPlus lists a directory with everything a stat of its entries would tell, so that a walk sends no LOOKUP.
func (fs *FS) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return fs.readDir(opReadDirPlus, caller{cancel, in.Pid}, in, out)
}

// ReadDir lists a directory; the kernel asks so only where it does not know READDIRPLUS.
func (fs *FS) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return fs.readDir(opReadDir, caller{cancel, in.Pid}, in, out)
}

func (fs *FS) readDir(o op, who caller, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	defer fs.counters.count(o, time.Now())
	d := fs.dirs.get(in.NodeId)
	if d == nil {
		return fuse.ENOTDIR
	}
	d.entered.Store(true) // before the state is looked at, see notify
	st := d.view.state.Load()
	l := fs.listings.get(d.id, st.generation)
	var err error
	if l == nil {
		l, err = ask(fs, who, func(ctx context.Context) (*listing, error) { return fs.listing(ctx, st, d) })
	}
	if err != nil {
		return fs.answer(o, d.path, err)
	}
	if in.Offset >= uint64(len(l.entries))+dots {
		fs.listings.drop(d.id) // the reader has seen all of it
		return fuse.OK
	}
	for i := in.Offset; i < uint64(len(l.entries))+dots; i++ {
		if !fs.emit(o, st, d, l, i, out) {
			break
		}
	}
	return fuse.OK
}

// dots is how many entries come before the catalog's: "." and "..".
const dots = 2

// emit adds entry number i of the listing; false when the reply is full.
func (fs *FS) emit(o op, st *state, d *dir, l *listing, i uint64, out *fuse.DirEntryList) bool {
	entry := fuse.DirEntry{Off: i + 1, Mode: unix.S_IFDIR, Name: ".", Ino: d.inode}
	var e *listed
	switch {
	case i == 1:
		entry.Name = ".."
		if up := fs.dirs.find(d.view, catalog.Parent(d.path)); up != nil {
			entry.Ino = up.inode
		}
	case i >= dots:
		e = &l.entries[i-dots]
		entry.Name, entry.Mode, entry.Ino = e.name, e.attr.Mode, e.attr.Ino
		if e.id == 0 {
			if known := fs.dirs.find(d.view, join(d.path, e.name)); known != nil {
				entry.Ino = known.inode
			}
		}
	}
	if o == opReadDir {
		return out.AddDirEntry(entry)
	}
	slot := out.AddDirLookupEntry(entry)
	if slot == nil {
		return false
	}
	// The dots carry node id 0, which tells the kernel nothing: it would not count them as known.
	if e != nil {
		fs.entry(st, join(d.path, e.name), e, slot)
	}
	return true
}

// listing is a directory's visible entries in the order of rows.
type listing struct {
	id         uint64 // of the directory
	generation uint64
	entries    []listed
}

// listings keeps directories between the requests that read them: without OPENDIR there is no handle to keep them in, and
// to start at an offset anew would make reading a large directory quadratic.
type listings struct {
	mu     sync.Mutex
	byID   map[uint64]*list.Element // of *listing
	recent list.List
	total  int // entries in all of them
}

// maxListed bounds the entries kept; the directory being read is kept whatever its size.
const maxListed = 32 << 10

func (t *listings) get(id, generation uint64) *listing {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byID[id]
	if e == nil || e.Value.(*listing).generation != generation {
		return nil
	}
	t.recent.MoveToFront(e)
	return e.Value.(*listing)
}

func (t *listings) put(l *listing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID == nil {
		t.byID = make(map[uint64]*list.Element)
	}
	t.remove(t.byID[l.id])
	t.byID[l.id] = t.recent.PushFront(l)
	t.total += len(l.entries)
	for t.total > maxListed && t.recent.Len() > 1 {
		t.remove(t.recent.Back())
	}
}

func (t *listings) drop(id uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(t.byID[id])
}

func (t *listings) remove(e *list.Element) {
	if e == nil {
		return
	}
	l := t.recent.Remove(e).(*listing)
	delete(t.byID, l.id)
	t.total -= len(l.entries)
}

// listing reads the directory.
func (fs *FS) listing(ctx context.Context, st *state, d *dir) (*listing, error) {
	p, err := fs.place(ctx, st, d)
	if err != nil {
		return nil, err
	}
	t, err := fs.inside(ctx, st, p, d.path)
	if err != nil {
		return nil, err
	}
	l := &listing{id: d.id, generation: st.generation}
	if l.entries, err = fs.list(st, t, d.path); err != nil {
		return nil, err
	}
	fs.listings.put(l)
	return l, nil
}

// list prepares the visible entries of the directory at path.
func (fs *FS) list(st *state, t *tree, path string) (all []listed, err error) {
	first := make(map[uint32]int64) // hard-link group → its first row, as rows come in order
	err = t.cat.List(t.hash(path), func(e catalog.Entry) error {
		row := e.Row
		if e.LinkGroup != 0 {
			if _, seen := first[e.LinkGroup]; !seen {
				first[e.LinkGroup] = row
			}
			row = first[e.LinkGroup]
		}
		if e.Flags&catalog.Hidden != 0 {
			return nil
		}
		l, err := fs.identify(st, t, &e, row)
		all = append(all, l)
		return err
	})
	return all, unavailable(err)
}
