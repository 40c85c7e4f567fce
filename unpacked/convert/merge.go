package convert

import (
	"iter"
	"maps"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/unpacked/layer"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// isWhiteout tells the entry by which a layer removes a name: a character device 0/0, as overlayfs has it.
func isWhiteout(e catalog.Entry) bool { return e.Mode&unix.S_IFMT == unix.S_IFCHR && e.Size == 0 }

func isOpaque(e catalog.Entry) bool { return string(e.Xattrs[layer.OpaqueTrusted]) == "y" }

func isImplied(e catalog.Entry) bool {
	return e.Xattrs[layer.Implied] != nil || e.Xattrs[layer.ImpliedBefore] != nil
}

// Merge stacks layers, the lowest first, into the tree that a container of them sees. Each layer is a stream of items
// sorted in path order with paths relative to its root ("" is the root), and so is the result. It holds one item of each
// layer and one frame for each directory on the way to the current path, whatever the size of the layers. A layer that
// goes through a symbolic link of a lower one ends it with a *redirect, and one that has a hard link into a lower one with
// a *lowerLink: a follower goes on from there.
func Merge(layers ...iter.Seq2[publish.Item, error]) iter.Seq2[publish.Item, error] {
	return func(yield func(publish.Item, error) bool) {
		for i, err := range new(merger).merge(layers) {
			if !yield(i.Item, err) {
				return
			}
		}
	}
}

// merge is Merge with what it knows of the items.
func (m *merger) merge(layers []iter.Seq2[publish.Item, error]) iter.Seq2[layerItem, error] {
	return func(yield func(layerItem, error) bool) {
		m.groups = map[groupKey]uint32{}
		defer m.stop()
		for _, l := range layers {
			next, stop := iter.Pull2(l)
			m.cursors = append(m.cursors, &cursor{next: next, stop: stop})
		}
		for _, c := range m.cursors {
			if err := c.advance(); err != nil {
				yield(layerItem{}, err)
				return
			}
		}
		for {
			item, emit, done, err := m.step()
			if done {
				return
			}
			if (emit || err != nil) && (!yield(item, err) || err != nil) {
				return
			}
		}
	}
}

// cursor is the next item of one layer.
type cursor struct {
	next func() (publish.Item, error, bool)
	stop func()
	item publish.Item
	live bool
}

func (c *cursor) advance() error {
	item, err, ok := c.next()
	c.item, c.live = item, ok && err == nil
	return err
}

// merger walks all layers in step.
type merger struct {
	cursors []*cursor
	frames  []frame
	groups  map[groupKey]uint32

	differs bool               // the kernel may show something else
	kernel  bool               // yield what it shows
	count   func(i *layerItem) // is told of every item that has a hard-link group, seen or not; nil: nobody is
}

// frame says that below path only the layers from floor on are seen, and whether that is one layer's directory alone.
type frame struct {
	path  string
	floor int
	alone bool
}

// groupKey is a hard-link group of one layer; numbers of different layers must not meet in the merged tree.
type groupKey struct {
	layer int
	group uint32
}

func (m *merger) stop() {
	for _, c := range m.cursors {
		c.stop()
	}
}

// step takes every layer's item at the lowest path.
func (m *merger) step() (item layerItem, emit, done bool, err error) {
	path, ok := m.lowest()
	if !ok {
		return item, false, true, nil
	}
	floor := m.floor(path)
	var stack []layerItem // visible ones, lowest layer first
	for i, c := range m.cursors {
		if !c.live || c.item.Path != path {
			continue
		}
		it := layerItem{c.item, i, c.item.Entry.LinkGroup}
		if it.group != 0 && m.count != nil {
			m.count(&it)
		}
		if i >= floor {
			stack = append(stack, it)
		} else if it.group != 0 {
			m.differs = true // the files that it is one of have fewer names
		}
		if err := c.advance(); err != nil {
			return item, false, false, err
		}
	}
	if len(stack) == 0 {
		return item, false, false, nil
	}
	if !m.kernel {
		if l := findLowerLink(stack); l != nil {
			return item, false, false, l
		}
		if r := findRedirect(stack); r != nil {
			return item, false, false, r
		}
	}
	return m.choose(path, stack, floor)
}

// choose takes what is seen at a path out of what the layers from floor on have there.
func (m *merger) choose(path string, stack []layerItem, floor int) (item layerItem, emit, done bool, err error) {
	top := stack[len(stack)-1]
	alone := false
	switch {
	case top.Entry.IsDir():
		item.Item, floor = mergeDirs(stack, floor)
		emit, alone = true, len(stack) == 1 || stack[len(stack)-2].layer < floor
	case isWhiteout(top.Entry):
		emit = m.kernel && m.listsWhiteouts()
		m.differs = m.differs || m.listsWhiteouts()
		item, floor = top, top.layer+1
	default:
		item, emit, floor = top, true, top.layer+1
		item.Entry.LinkGroup = m.group(top)
		item.Entry.Xattrs = withoutMarks(item.Entry.Xattrs)
	}
	m.frames = append(m.frames, frame{path, floor, alone})
	shown := stacked(top)
	m.differs = m.differs || emit && !alike(&item.Item, &shown.Item) || hidesLinks(stack)
	if m.kernel {
		item = shown
	}
	return item, emit, false, nil
}

// layerItem is an item, the number of its layer and that of its hard-link group there.
type layerItem struct {
	publish.Item
	layer int
	group uint32
}

// mergeDirs is the directory that is seen where stack ends in one, and the lowest layer that shows through it. The
// attributes are those of the highest layer that lists the directory, even if a higher one empties it: who unpacks layers
// one by one removes what is in it and leaves it as it is.
func mergeDirs(stack []layerItem, floor int) (publish.Item, int) {
	seen := stack[len(stack)-1].Item
	emptied := false
	for i := len(stack) - 1; i >= 0 && !(emptied && !isImplied(seen.Entry)); i-- {
		s := stack[i]
		if !s.Entry.IsDir() {
			if !emptied {
				floor = s.layer + 1
			}
			break
		}
		if isImplied(seen.Entry) {
			seen = s.Item
		}
		if isOpaque(s.Entry) && !emptied {
			floor, emptied = s.layer, true
		}
	}
	seen.Entry.Xattrs = withoutMarks(seen.Entry.Xattrs)
	return seen, floor
}

func (m *merger) lowest() (path string, ok bool) {
	for _, c := range m.cursors {
		if c.live && (!ok || publish.ComparePaths(c.item.Path, path) < 0) {
			path, ok = c.item.Path, true
		}
	}
	return path, ok
}

// floor leaves the frames that path is not below and answers the innermost one's.
func (m *merger) floor(path string) int {
	for n := len(m.frames); n > 0; n-- {
		f := m.frames[n-1]
		if f.path == "" || strings.HasPrefix(path, f.path+"/") {
			return f.floor
		}
		m.frames = m.frames[:n-1]
	}
	return 0
}

// group renumbers a layer's hard-link group.
func (m *merger) group(i layerItem) uint32 {
	if i.Entry.LinkGroup == 0 {
		return 0
	}
	k := groupKey{i.layer, i.Entry.LinkGroup}
	if k.group >= sharedGroups {
		k.layer = 0
	}
	if m.groups[k] == 0 {
		m.groups[k] = uint32(len(m.groups) + 1)
	}
	return m.groups[k]
}

// withoutMarks is x without what only stacking needs; x itself stays as it is.
func withoutMarks(x map[string][]byte) map[string][]byte { return without(x, layer.IsMark) }

// without leaves out attributes by their names.
func without(x map[string][]byte, out func(name string) bool) map[string][]byte {
	var kept map[string][]byte
	for k := range x {
		if out(k) {
			kept = maps.Clone(x)
			break
		}
	}
	if kept == nil {
		return x
	}
	maps.DeleteFunc(kept, func(k string, _ []byte) bool { return out(k) })
	if len(kept) == 0 {
		return nil
	}
	return kept
}

// rebase moves a stream from below one path to below another.
func rebase(items iter.Seq2[publish.Item, error], from, to string) iter.Seq2[publish.Item, error] {
	return func(yield func(publish.Item, error) bool) {
		for item, err := range items {
			item.Path = to + strings.TrimPrefix(item.Path, from)
			if !yield(item, err) {
				return
			}
		}
	}
}
