package fusefs

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/flatrun/flatrun/mount/catalog"
)

// maxName is the length of the longest name, also told by statfs.
const maxName = 255

// Lookup answers which entry a directory has under a name.
func (fs *FS) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	defer fs.counters.count(opLookup, time.Now())
	d := fs.dirs.get(in.NodeId)
	if d == nil {
		return fuse.ENOTDIR
	}
	if len(name) > maxName { // the kernel lets longer ones through, and file systems answer so
		return fuse.Status(syscall.ENAMETOOLONG)
	}
	if d.id == fuse.FUSE_ROOT_ID && isPinName(name) {
		return fs.lookupPinned(name, out)
	}
	d.entered.Store(true) // before the state is looked at, see notify
	st := d.view.state.Load()
	path := join(d.path, name)
	l, err := ask(fs, caller{cancel, in.Pid}, func(ctx context.Context) (*listed, error) { return fs.child(ctx, st, d, path) })
	switch {
	case err != nil:
		return fs.answer(opLookup, path, err)
	case l == nil:
		// Node id 0 with a time-out is a negative entry: the kernel does not ask again.
		*out = fuse.EntryOut{}
		out.SetEntryTimeout(forever)
	default:
		fs.entry(st, path, l, out)
	}
	return fuse.OK
}

// child finds the entry at path, which is in d; nil where there is none.
func (fs *FS) child(ctx context.Context, st *state, d *dir, path string) (*listed, error) {
	p, err := fs.place(ctx, st, d)
	if err != nil {
		return nil, err
	}
	t, err := fs.inside(ctx, st, p, d.path)
	if err != nil {
		return nil, err
	}
	e, found, err := t.lookup(path)
	if err != nil || !found {
		return nil, err
	}
	row, err := identity(t.cat.Catalog, &e)
	if err != nil {
		return nil, unavailable(err)
	}
	l, err := fs.identify(st, t, &e, row)
	return &l, err
}

// listed is an entry ready to be told to the kernel.
type listed struct {
	name  string
	tree  *tree     // where it was found
	cat   *numbered // whose ids and inode numbers name it
	id    uint64    // 0 for directories, whose id depends on what the kernel knows
	attr  fuse.Attr
	row   int64 // in cat, of its identity
	flags catalog.Flags
	has   bool // extended attributes
}

// identify works out what the kernel is told about e, found in t. For a hard-linked entry, row is its group's first.
func (fs *FS) identify(st *state, t *tree, e *catalog.Entry, row int64) (listed, error) {
	l := listed{name: e.Name, tree: t, cat: t.cat, row: row, flags: e.Flags, has: e.HasXattrs}
	if !e.IsDir() {
		l.cat, l.row = fs.eldest(t, e, row)
		var err error
		if l.id, err = l.cat.id(l.row, e.HasXattrs); err != nil {
			return listed{}, err
		}
	}
	fs.attr(st, e, l.cat.inode(l.row), &l.attr)
	return l, nil
}

// entry tells the kernel about l, which is at path, and counts that it was told.
func (fs *FS) entry(st *state, path string, l *listed, out *fuse.EntryOut) {
	*out = fuse.EntryOut{NodeId: l.id, Attr: l.attr}
	out.SetEntryTimeout(forever)
	out.SetAttrTimeout(forever)
	if l.id != 0 {
		l.cat.known.Add(1)
		return
	}
	d := fs.dirs.ref(st.view, path, l.attr.Ino)
	out.NodeId, out.Attr.Ino = d.id, d.inode
	if p := d.place.Load(); p == nil || p.generation != st.generation {
		d.place.Store(newPlace(st, l.tree, l.row, l.flags, l.has))
	}
}

// Forget takes back what Lookup and ReadDirPlus told.
func (fs *FS) Forget(id, n uint64) {
	fs.counters.total[opForget].Add(1)
	if isDir(id) {
		fs.dirs.forget(id, n)
		return
	}
	if cat, _, ok := fs.numbers.byID(id); ok {
		cat.known.Add(-int64(n))
	}
}

// GetAttr answers the attributes of an id. The kernel asks for the root's, and after Update for changed directories'.
func (fs *FS) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	defer fs.counters.count(opGetAttr, time.Now())
	st := fs.stateOf(in.NodeId)
	n, err := ask(fs, caller{cancel, in.Pid}, func(ctx context.Context) (node, error) { return fs.node(ctx, st, in.NodeId) })
	if err == nil {
		fs.attr(st, &n.entry, n.inode, &out.Attr)
		out.SetTimeout(forever)
	}
	return fs.answer(opGetAttr, n.path, err)
}

// Readlink answers the target, its variables expanded.
func (fs *FS) Readlink(cancel <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	defer fs.counters.count(opReadlink, time.Now())
	st := fs.stateOf(in.NodeId)
	n, err := ask(fs, caller{cancel, in.Pid}, func(ctx context.Context) (node, error) { return fs.node(ctx, st, in.NodeId) })
	if err == nil && !n.entry.IsSymlink() {
		err = syscall.EINVAL
	}
	if err != nil {
		return nil, fs.answer(opReadlink, n.path, err)
	}
	return []byte(target(st, &n.entry)), fuse.OK
}

// node is an entry found again by its id.
type node struct {
	tree  *tree // of a directory: where its entry is
	cat   *numbered
	entry catalog.Entry
	inode uint64
	path  string // of a directory; files are not asked for theirs
}

// node reads the entry behind an id.
func (fs *FS) node(ctx context.Context, st *state, id uint64) (node, error) {
	if !isDir(id) {
		cat, row, ok := fs.numbers.byID(id)
		if !ok {
			return node{}, fmt.Errorf("node %#x: %w", id, errStale)
		}
		if err := fs.load(ctx, cat); err != nil {
			return node{}, err
		}
		e, err := cat.row(row)
		return node{cat: cat, entry: e, inode: cat.inode(row)}, err
	}
	d := fs.dirs.get(id)
	if d == nil {
		return node{}, fmt.Errorf("node %#x: %w", id, errStale)
	}
	n := node{path: d.path, inode: d.inode}
	p, err := fs.place(ctx, st, d)
	if err != nil {
		return n, err
	}
	n.tree, n.cat = p.holder, p.holder.cat
	n.entry, err = n.cat.row(p.row)
	return n, err
}
