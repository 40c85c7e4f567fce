package publish

import (
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/catalog"
)

// edit is what a transaction does to one path and to what lies below it. The
// zero value leaves the base as it is.
type edit struct {
	hide   bool   // the base has nothing here or below any more
	spool  *spool // the subtree that takes its place
	item   *Item  // the entry that is set; a directory keeps its children
	ensure *Item  // the directory to make if there is no entry
	below  map[string]*edit
}

// at returns the edit of path, making it. The directories above it are made in
// the repository where it lacks them, as dir says; a nil dir leaves that be.
func (e *edit) at(path string, dir func(path string) *Item) *edit {
	for i, name := range components(path) {
		if i > 0 && e.ensure == nil && dir != nil {
			e.ensure = dir(prefixOf(path, i))
		}
		next := e.below[name]
		if next == nil {
			next = &edit{}
			if e.below == nil {
				e.below = map[string]*edit{}
			}
			e.below[name] = next
		}
		e = next
	}
	return e
}

// find returns the edit of path, nil if there is none, and whether an edit
// above it decides about it.
func (e *edit) find(path string) (at *edit, decided bool) {
	for _, name := range components(path) {
		decided = decided || e.hide
		if e = e.below[name]; e == nil {
			return nil, decided
		}
	}
	return e, decided || e.hide
}

// names are the edited names in the directory, in order.
func (e *edit) names() []string {
	if e == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(e.below))
}

// empty tells whether nothing at all is edited.
func (e *edit) empty() bool {
	return !e.hide && e.item == nil && e.ensure == nil && len(e.below) == 0
}

// close frees the scratch files.
func (e *edit) close() {
	if e.spool != nil {
		e.spool.close()
	}
	for _, b := range e.below {
		b.close()
	}
}

// clear forgets the edit and those below it.
func (e *edit) clear() {
	e.close()
	*e = edit{}
}

func components(path string) []string {
	if path == "" {
		return nil
	}
	return strings.Split(path[1:], "/")
}

// prefixOf is the path of its first n components.
func prefixOf(path string, n int) string {
	return "/" + strings.Join(components(path)[:n], "/")
}

// newDirectory is a directory as the official server makes missing ones.
func newDirectory(path string, mtime int64) *Item {
	it := &Item{Path: path, Entry: catalog.Entry{
		Mode: unix.S_IFDIR | 0o755, Size: directorySize, Mtime: mtime, MtimeNsec: -1, Flags: catalog.Directory,
	}}
	it.Entry.SetPath(path)
	return it
}

// directorySize is what a catalog tells for st_size of directories.
const directorySize = 4096
