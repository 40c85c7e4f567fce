package publish

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
)

// The names of files that mark a directory as the root of a nested catalog.
// Automatic ones carry both, as the official server's do, and ours are hidden:
// the user's tree shows nothing that is not his.
const (
	marker     = ".cvmfscatalog"
	autoMarker = ".cvmfsautocatalog"
)

// opener opens a catalog of a revision; repo.Revision's Catalog is one.
type opener func(ctx context.Context, h cas.Hash, size int64, prefix string) (*catalog.Catalog, error)

// baseTree reads a verified revision in path order.
type baseTree struct {
	open     opener
	rootHash cas.Hash
	rootSize int64
}

// baseCatalog is one catalog of the base.
type baseCatalog struct {
	path string // where it starts, "" for the root's
	hash cas.Hash
	cat  *catalog.Catalog
}

func (b *baseTree) load(ctx context.Context, path string, h cas.Hash, size int64) (*baseCatalog, error) {
	cat, err := b.open(ctx, h, size, path)
	if err != nil {
		return nil, fmt.Errorf("catalog of %q: %w", path, err)
	}
	return &baseCatalog{path: path, hash: h, cat: cat}, nil
}

// root is the node that the walk begins at.
func (b *baseTree) root(ctx context.Context) (*source, error) {
	bc, err := b.load(ctx, "", b.rootHash, b.rootSize)
	if err != nil {
		return nil, err
	}
	return bc.start()
}

// enter turns the parent's node of a nested catalog into the child's own.
func (b *baseTree) enter(ctx context.Context, src *source) (*source, error) {
	n := *src.nested
	if n.Bind {
		return nil, fmt.Errorf("%s: a view of another revision, which cannot be changed", n.Path)
	}
	bc, err := b.load(ctx, n.Path, n.Hash, n.Size)
	if err != nil {
		return nil, err
	}
	return bc.start()
}

// start is the node of the catalog's own root entry.
func (bc *baseCatalog) start() (*source, error) {
	it, err := bc.item(bc.path, bc.cat.Root())
	if err != nil {
		return nil, err
	}
	return &source{item: it, cat: bc, starts: true}, nil
}

// item completes an entry with what the catalog keeps in other tables.
func (bc *baseCatalog) item(path string, e catalog.Entry) (Item, error) {
	it := Item{Path: path, Entry: e}
	var err error
	if e.HasXattrs {
		if it.Entry.Xattrs, err = bc.cat.Xattrs(e.Row); err != nil {
			return it, err
		}
	}
	if e.Flags&catalog.Chunked != 0 {
		if it.Chunks, err = bc.cat.Chunks(e.Path); err != nil {
			return it, err
		}
	}
	it.Entry.Flags &^= catalog.NestedMount | catalog.NestedRoot
	return it, nil
}

// source makes a node of an entry that the catalog lists.
func (bc *baseCatalog) source(path string, e catalog.Entry) (*source, error) {
	it, err := bc.item(path, e)
	if err != nil {
		return nil, err
	}
	src := &source{item: it, cat: bc}
	if e.Flags&(catalog.NestedMount|catalog.BindMount) != 0 {
		n, ok, err := bc.cat.NestedAt(path)
		if err == nil && !ok {
			err = fmt.Errorf("%w: %q is not in its list of nested catalogs", catalog.ErrCorrupt, path)
		}
		if err != nil {
			return nil, err
		}
		src.nested, src.from = &n, bc
	}
	return src, nil
}

// keepEntries is the size of a directory up to which its rows are kept while
// they are sorted; of larger ones only names and row numbers are.
const keepEntries = 20000

// children lists the directory of src in order of names. The markers that an
// earlier commit placed are left out: it is decided anew where they belong.
func (b *baseTree) children(ctx context.Context, src *source) iter.Seq2[*source, error] {
	return func(yield func(*source, error) bool) {
		rows, err := src.cat.sorted(src.item.Path)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, r := range rows {
			if r.entry == nil {
				e, ok, err := src.cat.cat.Row(r.row)
				if err != nil || !ok {
					yield(nil, fmt.Errorf("catalog of %q: row %d: %w", src.cat.path, r.row, err))
					return
				}
				r.entry = &e
			}
			child, err := src.cat.source(src.item.Path+"/"+r.name, *r.entry)
			if err == nil {
				err = ctx.Err()
			}
			if !yield(child, err) || err != nil {
				return
			}
		}
	}
}

type listed struct {
	name  string
	row   int64
	entry *catalog.Entry
}

func (bc *baseCatalog) sorted(path string) ([]listed, error) {
	var rows []listed
	auto := false
	err := bc.cat.List(catalog.HashPath(path), func(e catalog.Entry) error {
		if e.Name == autoMarker && e.Flags&catalog.Hidden != 0 {
			auto = true
			return nil
		}
		if len(rows) == keepEntries {
			for i := range rows {
				rows[i].entry = nil
			}
		}
		r := listed{name: e.Name, row: e.Row}
		if len(rows) < keepEntries {
			r.entry = &e
		}
		rows = append(rows, r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if auto {
		rows = slices.DeleteFunc(rows, func(r listed) bool { return r.name == marker })
	}
	slices.SortFunc(rows, func(a, b listed) int { return strings.Compare(a.name, b.name) })
	return rows, nil
}

// items yields a subtree with all that nested catalogs hold of it.
func (b *baseTree) items(ctx context.Context, path string) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		src, err := b.find(ctx, path)
		if err != nil {
			yield(Item{}, err)
			return
		}
		b.emit(ctx, src, yield)
	}
}

// emit yields a node and all below it; false once the caller has enough.
func (b *baseTree) emit(ctx context.Context, src *source, yield func(Item, error) bool) bool {
	if src.nested != nil && !src.nested.Bind {
		var err error
		if src, err = b.enter(ctx, src); err != nil {
			yield(Item{}, err)
			return false
		}
	}
	if !yield(src.item, nil) {
		return false
	}
	if !src.item.Entry.IsDir() || src.nested != nil {
		return true
	}
	for child, err := range b.children(ctx, src) {
		if err != nil {
			yield(Item{}, err)
			return false
		}
		if !b.emit(ctx, child, yield) {
			return false
		}
	}
	return true
}

// find walks down to the node of path.
func (b *baseTree) find(ctx context.Context, path string) (*source, error) {
	src, err := b.root(ctx)
	for i := range components(path) {
		if err != nil {
			return nil, err
		}
		if src.nested != nil {
			if src, err = b.enter(ctx, src); err != nil {
				return nil, err
			}
		}
		p := prefixOf(path, i+1)
		e, ok, err := src.cat.cat.Lookup(catalog.HashPath(p))
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("%s: %w in revision with root catalog %s", p, fs.ErrNotExist, b.rootHash)
		}
		if src, err = src.cat.source(p, e); err != nil {
			return nil, err
		}
	}
	return src, err
}
