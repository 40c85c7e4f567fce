package fusefs

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// dir is a directory that the kernel knows.
type dir struct {
	id    uint64
	inode uint64
	view  *view
	path  string // within the repository: "" or "/a/b"

	lookups uint64 // answers the kernel has not forgotten yet; the table's lock guards it

	recalled bool // known from an earlier server: how often it was told of is not known

	entered atomic.Bool // the kernel may know what is in it

	place atomic.Pointer[place] // where it is found in the revision it was last looked for in
}

// dirs is the table of directories the kernel knows.
type dirs struct {
	mu     sync.RWMutex
	byID   map[uint64]*dir
	byPath map[viewPath]*dir
	serial uint64
	memory *notebook
}

// viewPath tells the directories of one path in several views apart.
type viewPath struct {
	view uint64
	path string
}

func (d *dir) key() viewPath { return viewPath{d.view.number, d.path} }

func newDirs(head *view) *dirs {
	root := &dir{id: fuse.FUSE_ROOT_ID, inode: rootInode, view: head}
	return &dirs{byID: map[uint64]*dir{root.id: root}, byPath: map[viewPath]*dir{root.key(): root}}
}

// get finds a directory by its id, nil if the kernel does not know it.
func (t *dirs) get(id uint64) *dir {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID[id]
}

// find finds a directory by its path, nil if the kernel does not know it.
func (t *dirs) find(v *view, path string) *dir {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byPath[viewPath{v.number, path}]
}

// ref counts one more answer that names the directory, entering it at the first one.
func (t *dirs) ref(v *view, path string, inode uint64) *dir {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.byPath[viewPath{v.number, path}]
	if d == nil {
		t.serial++
		d = &dir{id: dirBit | t.serial, inode: inode, view: v, path: path}
		t.byID[d.id] = d
		t.byPath[d.key()] = d
		t.memory.note(noteDir, []uint64{t.serial, inode, v.number}, path)
	}
	d.lookups++
	return d
}

// forget takes n answers back. The root stays.
func (t *dirs) forget(id, n uint64) {
	if id == fuse.FUSE_ROOT_ID {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.byID[id]
	if d == nil {
		return
	}
	if d.lookups -= min(n, d.lookups); d.lookups == 0 && !d.recalled {
		delete(t.byID, id)
		delete(t.byPath, d.key())
		t.memory.note(noteForgot, []uint64{id &^ dirBit})
	}
}

// all lists the directories known at this moment.
func (t *dirs) all() []*dir {
	t.mu.RLock()
	defer t.mu.RUnlock()
	list := make([]*dir, 0, len(t.byID))
	for _, d := range t.byID {
		list = append(list, d)
	}
	return list
}

// sorted lists the directories of a view known at this moment, each before those below it and these right after it.
func (t *dirs) sorted(v *view) []*dir {
	all := slices.DeleteFunc(t.all(), func(d *dir) bool { return d.view != v })
	slices.SortFunc(all, func(a, b *dir) int { return comparePaths(a.path, b.path) })
	return all
}

// comparePaths orders "/" before every other byte.
func comparePaths(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	switch {
	case n == len(a) || n == len(b):
		return len(a) - len(b)
	case a[n] == '/':
		return -1
	case b[n] == '/':
		return 1
	}
	return int(a[n]) - int(b[n])
}

// below tells whether path lies in dir, at any depth.
func below(path, dir string) bool {
	rest, found := strings.CutPrefix(path, dir)
	return found && strings.HasPrefix(rest, "/")
}
