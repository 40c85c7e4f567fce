package publish

import (
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/flatrun/flatrun/mount/catalog"
)

// Change is one path that differs between two revisions. A nil side lacks it.
// What lies below an added or removed directory is listed too.
type Change struct {
	Path     string
	From, To *Item
}

// Diff yields the differences between two revisions, named as for AddTag, in
// path order. Catalogs that both have are not opened.
func Diff(ctx context.Context, s Storage, o ReadOptions, from, to string) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		v, err := openView(ctx, s, o)
		if err != nil {
			yield(Change{}, err)
			return
		}
		defer v.close()
		d := &differ{ctx: ctx, yield: yield}
		if err := d.revisions(v, from, to); err != nil && !d.enough {
			yield(Change{}, err)
		}
	}
}

// differ walks two trees side by side.
type differ struct {
	ctx      context.Context
	from, to *baseTree
	yield    func(Change, error) bool
	enough   bool
}

func (d *differ) revisions(v *view, from, to string) error {
	var at [2]*source
	for i, name := range []string{from, to} {
		t, err := v.resolve(d.ctx, name)
		if err != nil {
			return err
		}
		tree := v.tree(t.Hash, t.Size)
		if at[i], err = tree.root(d.ctx); err != nil {
			return err
		}
		d.from, d.to = d.to, tree
	}
	return d.node(at[0], at[1])
}

// errEnough ends the walk when the caller breaks off.
type errEnough struct{}

func (errEnough) Error() string { return "no more differences are wanted" }

func (d *differ) tell(path string, from, to *source) error {
	c := Change{Path: path}
	if from != nil {
		c.From = &from.item
	}
	if to != nil {
		c.To = &to.item
	}
	if !d.yield(c, nil) {
		d.enough = true
		return errEnough{}
	}
	return nil
}

// node compares two nodes of one path; either may be nil.
func (d *differ) node(from, to *source) error {
	path := either(from, to).item.Path
	if from == nil || to == nil || !equal(&from.item, &to.item) {
		if err := d.tell(path, from, to); err != nil {
			return err
		}
	}
	if from != nil && to != nil && from.nested != nil && to.nested != nil && from.nested.Hash == to.nested.Hash {
		return nil
	}
	a, err := d.children(d.from, from)
	if err != nil {
		return err
	}
	b, err := d.children(d.to, to)
	if err != nil {
		return err
	}
	return d.merge(a, b)
}

func either(a, b *source) *source {
	if a != nil {
		return a
	}
	return b
}

// children starts the list of a directory; that of anything else is empty.
func (d *differ) children(tree *baseTree, src *source) (iter.Seq2[*source, error], error) {
	if src != nil && src.nested != nil && !src.nested.Bind {
		var err error
		if src, err = tree.enter(d.ctx, src); err != nil {
			return nil, err
		}
	}
	if src == nil || !src.item.Entry.IsDir() || src.nested != nil {
		return func(func(*source, error) bool) {}, nil
	}
	return tree.children(d.ctx, src), nil
}

// merge pairs the children by name.
func (d *differ) merge(as, bs iter.Seq2[*source, error]) error {
	byName := func(x, y **source) int { return strings.Compare((*x).item.Entry.Name, (*y).item.Entry.Name) }
	for at, err := range Together(as, bs, byName) {
		if err != nil {
			return err
		}
		var from, to *source
		if at.A != nil {
			from = *at.A
		}
		if at.B != nil {
			to = *at.B
		}
		if err := d.node(from, to); err != nil {
			return err
		}
	}
	return nil
}

// equal compares what users see of two entries. The link count of directories
// follows from what lies in them.
func equal(a, b *Item) bool {
	x, y := &a.Entry, &b.Entry
	if x.Mode != y.Mode || x.UID != y.UID || x.GID != y.GID || x.Mtime != y.Mtime || x.MtimeNsec != y.MtimeNsec ||
		x.Hash != y.Hash || x.Symlink != y.Symlink || !x.IsDir() && (x.Size != y.Size || x.LinkCount != y.LinkCount) {
		return false
	}
	return equalXattrs(x, y) && slices.Equal(a.Chunks, b.Chunks)
}

func equalXattrs(x, y *catalog.Entry) bool {
	if len(x.Xattrs) != len(y.Xattrs) {
		return false
	}
	for k, v := range x.Xattrs {
		if w, ok := y.Xattrs[k]; !ok || string(v) != string(w) {
			return false
		}
	}
	return true
}
