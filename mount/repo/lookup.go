package repo

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
)

const transition = catalog.NestedMount | catalog.BindMount

// Lookup finds the entry at path, whatever its spelling. Links on the way are not
// followed. Where a nested catalog starts it answers that catalog's own entry.
// The error matches fs.ErrNotExist for what is not there.
func (v *Revision) Lookup(ctx context.Context, path string) (Node, error) {
	path = catalog.Clean(path)
	at := v.root
	for {
		n, found, err := at.find(path)
		if err != nil {
			return Node{}, err
		}
		if found {
			return v.Enter(ctx, n)
		}
		next, found, err := v.descend(ctx, at, path)
		if err != nil {
			return Node{}, err
		}
		if !found {
			return Node{}, notExist(path)
		}
		at = next
	}
}

func notExist(path string) error { return &fs.PathError{Op: "lookup", Path: path, Err: fs.ErrNotExist} }

// find looks for path in the catalog of n.
func (n *Node) find(path string) (Node, bool, error) {
	found := *n
	found.Path = path
	e, ok, err := n.Catalog.Lookup(catalog.HashPath(found.CatalogPath()))
	if err != nil || !ok {
		return Node{}, false, err
	}
	if path != n.mount && e.Name != path[strings.LastIndexByte(path, '/')+1:] {
		return Node{}, false, fmt.Errorf("catalog %s: %w: the entry at %q is called %q", n.CatalogHash, catalog.ErrCorrupt, path, e.Name)
	}
	found.Entry, found.Ident = e, e.Row
	if e.LinkGroup != 0 {
		if found.Ident, err = n.Catalog.GroupFirst(e.Parent, e.LinkGroup); err != nil {
			return Node{}, false, err
		}
	}
	return found, true, nil
}

// descend enters the nested catalog of at's that holds path: at the longest
// mountpoint above it. Bind mountpoints may lie within each other's reach, so the
// search starts at the bottom.
func (v *Revision) descend(ctx context.Context, at Node, path string) (Node, bool, error) {
	for dir := catalog.Parent(path); len(dir) > len(at.mount); dir = catalog.Parent(dir) {
		n, found, err := at.find(dir)
		if err != nil {
			return Node{}, false, err
		}
		if !found {
			continue
		}
		if n.Entry.Flags&transition == 0 {
			return Node{}, false, nil // the directory is here, so the entry would be too
		}
		n, err = v.Enter(ctx, n)
		return n, err == nil, err
	}
	return Node{}, false, nil
}

// Enter answers the root of the nested catalog that starts at n, or n itself
// where none does.
func (v *Revision) Enter(ctx context.Context, n Node) (Node, error) {
	if n.Entry.Flags&transition == 0 {
		return n, nil
	}
	at := n.CatalogPath()
	nested, found, err := n.Catalog.NestedAt(at)
	if err != nil {
		return Node{}, err
	}
	if !found {
		return Node{}, fmt.Errorf("catalog %s: %w: it names no catalog for its mountpoint %q", n.CatalogHash, catalog.ErrCorrupt, at)
	}
	prefix := at
	if nested.Bind {
		prefix = ""
	}
	c, err := v.repo.catalogs.get(ctx, v.repo, cas.Object{Hash: nested.Hash, Size: nested.Size}, prefix)
	if err != nil {
		return Node{}, fmt.Errorf("nested catalog of %q: %w", n.Path, err)
	}
	if !nested.Bind && c.Prefix() != at {
		return Node{}, fmt.Errorf("catalog %s: %w: it is that of %q and not of %q", nested.Hash, catalog.ErrCorrupt, c.Prefix(), at)
	}
	root := c.Root()
	root.Name = n.Entry.Name // a bind mountpoint is seen by the name it is bound to
	return c.node(root, n.Path, n.Path), nil
}

// Child finds the entry called name in dir. Where a nested catalog starts it
// answers the parent's copy of the directory, so that looking at a directory does
// not fetch its catalog; List and the next Child enter it.
func (v *Revision) Child(ctx context.Context, dir Node, name string) (Node, error) {
	if strings.ContainsRune(name, '/') || name == "" || name == "." || name == ".." {
		return Node{}, notExist(dir.Path + "/" + name)
	}
	dir, err := v.Enter(ctx, dir)
	if err != nil {
		return Node{}, err
	}
	path := dir.Path + "/" + name
	n, found, err := dir.find(path)
	if err == nil && !found {
		err = notExist(path)
	}
	return n, err
}

// List calls visit for each entry of dir, hidden ones left out, in the order of
// the catalog's rows. It enters the nested catalog if one starts at dir, but none
// of the entries'. An error of visit ends it.
func (v *Revision) List(ctx context.Context, dir Node, visit func(Node) error) error {
	if !dir.Entry.IsDir() {
		return &fs.PathError{Op: "list", Path: dir.Path, Err: syscall.ENOTDIR}
	}
	dir, err := v.Enter(ctx, dir)
	if err != nil {
		return err
	}
	groups := map[uint32]int64{}
	path := dir.CatalogPath()
	return dir.Catalog.List(catalog.HashPath(path), func(e catalog.Entry) error {
		// What is listed must also be found: else a name leads elsewhere.
		if e.Path != catalog.HashPath(path+"/"+e.Name) {
			return fmt.Errorf("catalog %s: %w: entry %q (row %d) of %q is stored under another path", dir.CatalogHash,
				catalog.ErrCorrupt, e.Name, e.Row, path)
		}
		n := dir
		n.Entry, n.Ident, n.Path = e, e.Row, dir.Path+"/"+e.Name
		if e.LinkGroup != 0 { // rows come in order, so the first of a group is its identity
			if first, seen := groups[e.LinkGroup]; seen {
				n.Ident = first
			} else {
				groups[e.LinkGroup] = e.Row
			}
		}
		if e.Flags&catalog.Hidden != 0 {
			return nil
		}
		return visit(n)
	})
}

// Readlink is the target of a symbolic link, its variables expanded.
func (v *Revision) Readlink(n Node) string {
	return catalog.ExpandLink(n.Entry.Symlink, v.repo.cfg.Env)
}
