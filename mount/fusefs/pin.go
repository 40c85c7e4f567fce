package fusefs

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/repo"
)

// view is a tree of directories that shows one revision at a time: the mount's root the one to which Update moved it, a
// pinned one always the same.
type view struct {
	number uint64 // of the pinned revision's root catalog, 0 for the mount's root
	state  atomic.Pointer[state]
}

// pins are the pinned revisions by the names of their directories.
type pins struct {
	mu     sync.RWMutex
	byName map[string]*view
}

// Type is what mount tables call our mounts.
const Type = "fuse." + subtype

// PinPrefix begins the names of the directories that show pinned revisions. The root has no other entries of such names.
const PinPrefix = ".flatrun@"

// PinName is the directory of the mount's root that shows the revision with the given root catalog once it is pinned.
func PinName(root cas.Hash) string { return PinPrefix + root.String() }

func isPinName(name string) bool { return strings.HasPrefix(name, PinPrefix) }

// Pin shows a revision as it is, whatever Update does, in the directory PinName of the root, until Unpin.
func (fs *FS) Pin(rev *repo.Revision) error {
	name := PinName(rev.Root().CatalogHash)
	if fs.pins.get(name) != nil {
		return nil
	}
	v := &view{}
	st, err := fs.newState(v, rev, 1)
	if err != nil {
		return err
	}
	v.number = st.root.holder.cat.number
	v.state.Store(st)
	if fs.pins.add(name, v) {
		fs.memory.note(notePin, []uint64{v.number})
	}
	return nil
}

// Unpin takes a pinned revision away and has the kernel drop what it knows of it. Nobody may use it any more: what some
// process has mounted below it would be detached.
func (fs *FS) Unpin(root cas.Hash) {
	name := PinName(root)
	v := fs.pins.remove(name)
	if v == nil {
		return
	}
	fs.memory.note(noteUnpin, []uint64{v.number})
	if server := fs.server.Load(); server != nil {
		server.EntryNotify(fuse.FUSE_ROOT_ID, name)
	}
	fs.dirs.abandon(v)
}

func (t *pins) get(name string) *view {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byName[name]
}

// add reports whether the name is new.
func (t *pins) add(name string, v *view) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byName[name] != nil {
		return false
	}
	if t.byName == nil {
		t.byName = make(map[string]*view)
	}
	t.byName[name] = v
	return true
}

func (t *pins) remove(name string) *view {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.byName[name]
	delete(t.byName, name)
	return v
}

// Pinned lists the revisions that are pinned, in no order.
func (fs *FS) Pinned() (all []*repo.Revision) {
	fs.pins.mu.RLock()
	defer fs.pins.mu.RUnlock()
	for _, v := range fs.pins.byName {
		all = append(all, v.state.Load().rev)
	}
	return all
}

// lookupPinned answers the root directory of a pinned revision. That there is none is not for the kernel to remember.
func (fs *FS) lookupPinned(name string, out *fuse.EntryOut) fuse.Status {
	v := fs.pins.get(name)
	if v == nil {
		return fuse.ENOENT
	}
	st := v.state.Load()
	root := st.root.holder.cat.Root()
	l := listed{tree: st.root.holder, row: root.Row, has: root.HasXattrs}
	fs.attr(st, &root, rootInode, &l.attr)
	fs.entry(st, "", &l, out)
	return fuse.OK
}

// stateOf is what a request about the id is answered from. What a file's id means is the same in all of them.
func (fs *FS) stateOf(id uint64) *state {
	if isDir(id) {
		if d := fs.dirs.get(id); d != nil {
			return d.view.state.Load()
		}
	}
	return fs.head.state.Load()
}

// abandon drops the directories of a view of which it is not known how often the kernel was told of them: it forgets the
// others by itself.
func (t *dirs) abandon(v *view) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, d := range t.byID {
		if d.view == v && d.recalled {
			delete(t.byID, id)
			delete(t.byPath, d.key())
		}
	}
}
