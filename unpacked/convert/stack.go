package convert

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"iter"
	"maps"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/unpacked"
	"github.com/flatrun/flatrun/unpacked/layer"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// stack writes what has to lie over an image's layers, so that overlayfs shows the image: the difference between the merge
// that f has made of them and what the kernel makes of the layers alone. Most images have none.
func (c *Converter) stack(image unpacked.Digest, f *follower, layers []iter.Seq2[publish.Item, error]) error {
	root := unpacked.StackRoot(image)
	items, err := f.difference(layers)
	if err != nil {
		return err
	}
	c.noteStack(image, items != nil)
	if items == nil {
		return c.Tx.Remove(root)
	}
	if err := c.catalogs(unpacked.Stacks, path.Dir(root)); err != nil {
		return err
	}
	return c.Tx.Replace(root, rebase(items, "", root))
}

func (c *Converter) noteStack(image unpacked.Digest, made bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stacks == nil {
		c.stacks = map[unpacked.Digest]bool{}
	}
	c.stacks[image] = made
}

// stacked tells whether something has to lie over an image's layers.
func (c *Converter) stacked(image unpacked.Digest) (bool, error) {
	c.mu.Lock()
	made, decided := c.stacks[image]
	c.mu.Unlock()
	if decided {
		return made, nil
	}
	_, err := c.Tx.Lookup(unpacked.StackRoot(image))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// difference is what lies over layers, those of f or some of them, so that the kernel shows the merge that f has made; nil if
// it shows that already.
func (f *follower) difference(layers []iter.Seq2[publish.Item, error]) (iter.Seq2[publish.Item, error], error) {
	if !f.differs && len(layers) == len(f.layers) {
		return nil, nil
	}
	flat := new(merger).merge(f.layers)
	links := newLinkTable()
	kernel := merger{kernel: true, count: links.layer}
	for p, err := range together(flat, kernel.merge(layers)) {
		if err != nil {
			return nil, err
		}
		links.add(p)
	}
	items := func(yield func(publish.Item, error) bool) {
		d := differ{links: links, yield: yield}
		shown := merger{kernel: true}
		for p, err := range together(new(merger).merge(f.layers), shown.merge(layers)) {
			if err != nil {
				yield(publish.Item{}, err)
				return
			}
			if !d.pair(p) {
				return
			}
		}
	}
	for range items {
		return items, nil
	}
	return nil, nil
}

// pair is what an image has at a path, and what the kernel shows there; nil where there is nothing.
type pair struct {
	path        string
	flat, shown *layerItem
}

// together walks two streams in step.
func together(flat, shown iter.Seq2[layerItem, error]) iter.Seq2[pair, error] {
	return func(yield func(pair, error) bool) {
		byPath := func(x, y *layerItem) int { return publish.ComparePaths(x.Path, y.Path) }
		for at, err := range publish.Together(flat, shown, byPath) {
			p := pair{flat: at.A, shown: at.B}
			if first := cmp.Or(at.A, at.B); first != nil {
				p.path = first.Path
			}
			if !yield(p, err) {
				return
			}
		}
	}
}

// differ yields the difference. Directories on the way to an item of it belong to it, too.
type differ struct {
	links *linkTable
	yield func(publish.Item, error) bool
	dirs  []*layerItem // of the image, on the way to the current path
	made  int          // how many of them have been yielded
}

// pair yields what it takes to have the image's item at a path; false once the caller has enough.
func (d *differ) pair(p pair) bool {
	for n := len(d.dirs); n > 0 && !below(p.path, d.dirs[n-1].Path); n-- {
		d.dirs = d.dirs[:n-1]
	}
	d.made = min(d.made, len(d.dirs))
	inside := len(d.dirs) > 0 && d.dirs[len(d.dirs)-1].Path == catalog.Parent(p.path)
	if p.flat == nil {
		switch {
		case !inside: // hidden by what takes its directory's place
			return true
		case isWhiteout(p.shown.Entry):
			return d.enter() // the kernel hides whiteouts in directories of several layers only
		}
		return d.enter() && d.yield(publish.Item{Path: p.path, Entry: catalog.Entry{Mode: unix.S_IFCHR, MtimeNsec: -1}}, nil)
	}
	same := p.shown != nil && alike(&p.flat.Item, &p.shown.Item) && d.links.alike(p)
	if !same && !d.enter() {
		return false
	}
	if p.flat.Entry.IsDir() {
		d.dirs = append(d.dirs, p.flat)
		return same || d.enter()
	}
	return same || d.yield(p.flat.Item, nil)
}

// enter yields the directories on the way that have not been yielded.
func (d *differ) enter() bool {
	for ; d.made < len(d.dirs); d.made++ {
		if !d.yield(d.dirs[d.made].Item, nil) {
			return false
		}
	}
	return true
}

// stacked is an item of the uppermost layer at its path as the kernel shows it.
func stacked(top layerItem) layerItem {
	top.Entry.Xattrs = without(top.Entry.Xattrs, layer.IsOverlays)
	return top
}

// listsWhiteouts tells whether the whiteouts of the current directory are listed: the kernel looks for them only where it
// has several directories to merge.
func (m *merger) listsWhiteouts() bool {
	return len(m.frames) > 0 && m.frames[len(m.frames)-1].alone
}

// hidesLinks tells whether one of the names of a file is hidden by what lies over it.
func hidesLinks(stack []layerItem) bool {
	return slices.ContainsFunc(stack[:len(stack)-1], func(i layerItem) bool { return i.group != 0 })
}

// alike compares all that can be seen of two items but their hard links.
func alike(a, b *publish.Item) bool {
	x, y := &a.Entry, &b.Entry
	if x.Mode != y.Mode || x.UID != y.UID || x.GID != y.GID || x.Mtime != y.Mtime || x.MtimeNsec != y.MtimeNsec ||
		x.Symlink != y.Symlink || !maps.EqualFunc(x.Xattrs, y.Xattrs, bytes.Equal) {
		return false
	}
	if !x.IsRegular() {
		return !x.IsDevice() || x.Size == y.Size
	}
	return x.Size == y.Size && x.Hash == y.Hash && slices.EqualFunc(a.Chunks, b.Chunks, func(c, d catalog.Chunk) bool {
		return c.Offset == d.Offset && c.Hash == d.Hash
	})
}
