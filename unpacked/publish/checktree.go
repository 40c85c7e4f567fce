package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
)

// tree checks a root catalog and everything below it.
func (c *checker) tree(ctx context.Context, root cas.Hash, size int64) error {
	_, err := c.catalog(ctx, catalog.Nested{Hash: root, Size: size}, nil)
	return err
}

// catalog checks one catalog and those below it, and returns what they count.
// mount is the parent's entry of its directory.
func (c *checker) catalog(ctx context.Context, n catalog.Nested, mount *catalog.Entry) (catalog.Statistics, error) {
	if s, ok := c.catalogs[n.Hash]; ok {
		return s, nil
	}
	c.report.Catalogs++
	c.object(ctx, n.Path, cas.Object{Hash: n.Hash, Suffix: cas.CatalogSuffix, Size: n.Size})
	cat, err := c.v.rev.Catalog(ctx, n.Hash, n.Size, n.Path)
	if err != nil {
		if ctx.Err() != nil {
			return catalog.Statistics{}, context.Cause(ctx)
		}
		if !errors.Is(err, fs.ErrNotExist) { // a missing object is reported as such
			c.problem("catalog of %s: %v", display(n.Path), err)
		}
		return catalog.Statistics{}, nil
	}
	t := &treeCheck{checker: c, ctx: ctx, path: n.Path, cat: &baseCatalog{path: n.Path, hash: n.Hash, cat: cat}}
	if err := t.run(mount); err != nil {
		return catalog.Statistics{}, err
	}
	c.catalogs[n.Hash] = t.stats
	return t.stats, nil
}

// treeCheck is the check of one catalog.
type treeCheck struct {
	*checker
	ctx    context.Context
	path   string
	cat    *baseCatalog
	stats  catalog.Statistics // recomputed
	mounts map[string]catalog.Entry
}

func (t *treeCheck) run(mount *catalog.Entry) error {
	root := t.cat.cat.Root()
	if t.cat.cat.Prefix() != t.path {
		t.problem("catalog of %s: it says it is that of %s", display(t.path), display(t.cat.cat.Prefix()))
	}
	if nested := root.Flags&catalog.NestedRoot != 0; nested != (mount != nil) {
		t.problem("catalog of %s: its root entry has flags %#x", display(t.path), root.Flags)
	}
	if mount != nil {
		t.agree(mount, &root)
	}
	t.mounts = map[string]catalog.Entry{}
	t.stats.Self.AddEntry(&root, 0)
	marked, err := t.directory(t.path, root)
	if err != nil {
		return t.broken(err)
	}
	if mount != nil && !marked {
		t.problem("catalog of %s: the directory has no %s", display(t.path), marker)
	}
	rows, err := t.cat.cat.Rows()
	if err != nil {
		return t.broken(err)
	}
	if n := t.stats.Self.Entries(); rows != n {
		t.problem("catalog of %s: it has %d entries, of which directories lead to %d", display(t.path), rows, n)
	}
	if err := t.nested(); err != nil {
		return err
	}
	stored, err := t.cat.cat.Statistics()
	if err != nil {
		return t.broken(err)
	}
	if stored != t.stats {
		t.problem("catalog of %s: its statistics are %+v, counted were %+v", display(t.path), stored, t.stats)
	}
	return nil
}

// broken reports an error of reading the catalog, unless the check itself ends.
func (t *treeCheck) broken(err error) error {
	if t.ctx.Err() != nil {
		return context.Cause(t.ctx)
	}
	t.problem("catalog of %s: %v", display(t.path), err)
	return nil
}

// agree compares the two entries of the directory where a catalog starts.
func (t *treeCheck) agree(mount, root *catalog.Entry) {
	a, b := *mount, *root
	for _, e := range []*catalog.Entry{&a, &b} {
		e.Row, e.Name, e.Xattrs, e.Flags = 0, "", nil, e.Flags&catalog.Hidden
		e.Algorithm = 0
	}
	if fmt.Sprintf("%+v", a) != fmt.Sprintf("%+v", b) {
		t.problem("catalog of %s: its root entry and the one of the parent catalog differ", display(t.path))
	}
}

// directory checks the entries below path, and tells whether the marker of a
// nested catalog is among them.
func (t *treeCheck) directory(path string, dir catalog.Entry) (marked bool, err error) {
	var dirs []catalog.Entry
	subdirs := uint32(0)
	groups := map[uint32][]catalog.Entry{}
	err = t.cat.cat.List(catalog.HashPath(path), func(e catalog.Entry) error {
		p := path + "/" + e.Name
		t.entry(p, e)
		if e.Name == marker {
			if marked = true; path != t.path {
				t.problem("%s: no catalog starts in its directory", p)
			}
		}
		if e.IsDir() {
			subdirs++
			if e.Flags&(catalog.NestedMount|catalog.BindMount) != 0 {
				t.mounts[p] = e
			} else {
				dirs = append(dirs, e)
			}
		}
		if e.LinkGroup != 0 {
			groups[e.LinkGroup] = append(groups[e.LinkGroup], e)
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	if dir.LinkCount != subdirs+2 {
		t.problem("%s: its link count is %d, with %d subdirectories", display(path), dir.LinkCount, subdirs)
	}
	t.hardLinks(path, groups)
	for _, e := range dirs {
		if _, err := t.directory(path+"/"+e.Name, e); err != nil {
			return false, err
		}
	}
	return marked, context.Cause(t.ctx)
}

// entry checks one entry by itself, and its content.
func (t *treeCheck) entry(p string, e catalog.Entry) {
	if e.Name == "" || e.Path != catalog.HashPath(p) {
		t.problem("%s: its row is under the hash of another path", p)
	}
	var chunks []catalog.Chunk
	if e.Flags&catalog.Chunked != 0 {
		var err error
		if chunks, err = t.cat.cat.Chunks(e.Path); err != nil {
			t.problem("%s: %v", p, err)
		}
	}
	t.stats.Self.AddEntry(&e, len(chunks))
	if t.report.Entries++; t.o.Progress != nil && t.report.Entries%1000 == 0 {
		t.o.Progress(t.report.Entries, t.done.Load())
	}
	switch {
	case e.LinkCount > 1 && e.LinkGroup == 0 && !e.IsDir():
		t.problem("%s: its link count is %d, but it is in no hard-link group", p, e.LinkCount)
	case e.IsSymlink() && e.Size != int64(len(e.Symlink)) && e.Size != 0: // 0 is what the official ingest writes
		t.problem("%s: its size is %d, its target has %d bytes", p, e.Size, len(e.Symlink))
	case !e.IsRegular() && !e.Hash.IsZero():
		t.problem("%s: it has content but is no regular file", p)
	}
	if !e.IsRegular() || e.Flags&catalog.External != 0 {
		return
	}
	for _, k := range chunks {
		t.object(t.ctx, p, cas.Object{Hash: k.Hash, Suffix: cas.PartialSuffix, Compression: e.Compression, Size: k.Size})
	}
	if !e.Hash.IsZero() {
		t.object(t.ctx, p, cas.Object{Hash: e.Hash, Compression: e.Compression, Size: e.Size})
	}
}

// hardLinks checks that the members of a group are as many as they say and
// alike.
func (t *treeCheck) hardLinks(path string, groups map[uint32][]catalog.Entry) {
	for g, members := range groups {
		first := members[0]
		if int(first.LinkCount) != len(members) {
			t.problem("%s: hard-link group %d has %d members, their link count is %d", display(path), g, len(members), first.LinkCount)
		}
		for _, e := range members[1:] {
			if e.Hash != first.Hash || e.Size != first.Size || e.Mode != first.Mode || e.Mtime != first.Mtime || e.LinkCount != first.LinkCount {
				t.problem("%s/%s: differs from %s, of the same hard-link group", path, e.Name, first.Name)
			}
		}
	}
}

// nested checks the child catalogs: listed and mounted ones must be the same.
func (t *treeCheck) nested() error {
	all, err := t.cat.cat.Nested()
	if err != nil {
		return t.broken(err)
	}
	listed := map[string]bool{}
	for _, n := range all {
		mount, ok := t.mounts[n.Path]
		if !ok || listed[n.Path] || n.Bind != (mount.Flags&catalog.BindMount != 0) {
			t.problem("catalog of %s: it lists a nested catalog %s, which its entries do not have", display(t.path), n.Path)
			continue
		}
		listed[n.Path] = true
		if n.Bind {
			continue // a view of another revision, which its tag stands for
		}
		t.stats.Self.Nested++
		child, err := t.catalog(t.ctx, n, &mount)
		if err != nil {
			return err
		}
		t.stats.Subtree.Add(child.Total())
	}
	for p := range t.mounts {
		if !listed[p] {
			t.problem("%s: a nested catalog is to start there, but none is listed", p)
		}
	}
	return nil
}
