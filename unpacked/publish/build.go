package publish

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
)

// builder is the second walk's sink: it writes catalogs. A catalog is open
// while the walk is in its directory; when the walk leaves, it is finished,
// compressed and stored in the background, and its parent waits for its hash
// only when the parent itself is finished.
type builder struct {
	ctx     context.Context
	store   objectStore
	base    *baseTree
	plan    plan
	scratch string
	props   catalog.Properties // of the new root catalog
	empty   Content            // of the markers

	dirs    []*openDir
	next    int // index of the next directory in the plan
	files   int
	pending *errgroup.Group
	root    *buildingCatalog
	built   int
}

// openDir is a directory that the walk is in.
type openDir struct {
	index   int
	catalog *buildingCatalog
	starts  bool              // the catalog starts here
	groups  map[uint32]uint32 // the stream's hard-link groups to the catalog's
}

// buildingCatalog is a catalog being written, later its outcome.
type buildingCatalog struct {
	path     string
	file     string
	w        *catalog.Writer
	base     *baseCatalog // what the base has there, if anything
	groups   uint32       // hard-link groups so far
	reused   map[string]bool
	stats    catalog.Statistics // Subtree sums what is known; Self comes from the writer
	children []*buildingCatalog

	done chan struct{}
	err  error
	hash cas.Hash
	size int64
}

func newBuilder(ctx context.Context, store objectStore, base *baseTree, p plan, scratch string) *builder {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4 * runtime.GOMAXPROCS(0)) // most of them wait for their children; the walk waits where all are taken
	return &builder{ctx: ctx, store: store, base: base, plan: p, scratch: scratch, pending: g}
}

// top is the directory that the walk is in.
func (b *builder) top() *openDir { return b.dirs[len(b.dirs)-1] }

func (b *builder) dir(it *Item, base *baseCatalog) error {
	d := &openDir{index: b.next}
	b.next++
	p := b.plan.dirs[d.index]
	e := it.Entry
	e.Flags = e.Flags&catalog.Hidden | catalog.Directory
	e.LinkCount, e.LinkGroup = 2+p.subdirs, 0
	if e.Size <= 0 {
		e.Size = directorySize
	}
	isRoot := len(b.dirs) == 0
	if !isRoot && p.nest == plain {
		d.catalog = b.top().catalog
		b.dirs = append(b.dirs, d)
		return d.catalog.w.Add(e, nil)
	}
	if err := b.startAt(d, it.Path, e, base); err != nil {
		return err
	}
	b.dirs = append(b.dirs, d)
	if isRoot {
		return d.catalog.w.Add(e, nil)
	}
	e.Flags |= catalog.NestedRoot
	if err := d.catalog.w.Add(e, nil); err != nil || p.nest != auto {
		return err
	}
	return b.mark(it, p.hasAuto)
}

// startAt begins a catalog at a directory, and notes it in the one around it.
func (b *builder) startAt(d *openDir, path string, e catalog.Entry, base *baseCatalog) (err error) {
	d.starts = true
	if d.catalog, err = b.start(path, base); err != nil {
		return err
	}
	if len(b.dirs) == 0 {
		b.root = d.catalog
		return nil
	}
	parent := b.top().catalog
	parent.children = append(parent.children, d.catalog)
	e.Flags |= catalog.NestedMount
	if err = parent.w.Add(e, nil); err != nil {
		d.catalog.w.Abort() // it is not among the open ones yet
	}
	return err
}

// start opens a new catalog's file.
func (b *builder) start(path string, base *baseCatalog) (*buildingCatalog, error) {
	b.files++
	c := &buildingCatalog{
		path: path, file: filepath.Join(b.scratch, "catalog"+strconv.Itoa(b.files)), base: base,
		reused: map[string]bool{}, done: make(chan struct{}),
	}
	var err error
	c.w, err = catalog.Create(c.file, path)
	return c, err
}

// mark adds the hidden marker files of an automatic catalog.
func (b *builder) mark(dir *Item, hasAuto bool) error {
	for _, name := range []string{marker, autoMarker} {
		if name == autoMarker && hasAuto {
			continue
		}
		it := Item{Path: dir.Path + "/" + name, Entry: catalog.Entry{
			Mode: 0o100644, Mtime: dir.Entry.Mtime, MtimeNsec: -1, UID: dir.Entry.UID, GID: dir.Entry.GID,
			Flags: catalog.Hidden,
		}}
		b.empty.Apply(&it)
		if err := it.check(); err != nil {
			return err
		}
		if err := b.file(&it); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) file(it *Item) error {
	d := b.top()
	e := it.Entry
	e.LinkCount = 1
	if g := e.LinkGroup; g != 0 {
		e.LinkGroup = 0
		if n := b.plan.groups[groupKey{d.index, g}]; n > 1 {
			e.LinkCount, e.LinkGroup = n, d.group(g)
		}
	}
	return d.catalog.w.Add(e, it.Chunks)
}

// group numbers a hard-link group within the catalog.
func (d *openDir) group(g uint32) uint32 {
	n, ok := d.groups[g]
	if !ok {
		d.catalog.groups++
		n = d.catalog.groups
		if d.groups == nil {
			d.groups = map[uint32]uint32{}
		}
		d.groups[g] = n
	}
	return n
}

func (b *builder) nested(it *Item, n catalog.Nested, from *baseCatalog) error {
	c := b.top().catalog
	e := it.Entry
	if n.Bind {
		e.Flags |= catalog.BindMount
	} else {
		e.Flags |= catalog.NestedMount
	}
	if err := c.w.Add(e, nil); err != nil {
		return err
	}
	if err := c.w.AddNested(n); err != nil || n.Bind {
		return err
	}
	if c.base != nil && c.base == from {
		c.reused[n.Path] = true
		return nil
	}
	stats, err := b.statistics(n)
	c.stats.Subtree.Add(stats.Total())
	return err
}

func (b *builder) statistics(n catalog.Nested) (catalog.Statistics, error) {
	bc, err := b.base.load(b.ctx, n.Path, n.Hash, n.Size)
	if err != nil {
		return catalog.Statistics{}, err
	}
	return bc.cat.Statistics()
}

func (b *builder) leave() error {
	d := b.top()
	b.dirs = b.dirs[:len(b.dirs)-1]
	if !d.starts {
		return nil
	}
	c := d.catalog
	if err := b.inherit(c); err != nil {
		return err
	}
	// Go waits for a free slot. The children of c were given theirs before, so
	// none of them waits behind c, which waits for them.
	b.pending.Go(func() error {
		c.err = b.finish(c)
		close(c.done)
		return c.err
	})
	b.built++
	// Not ctx.Err: the user is to hear of the full disk, not of the catalogs
	// that were given up because of it.
	return context.Cause(b.ctx)
}

// inherit adds up the subtree counters of the nested catalogs that c takes over
// from its base without opening them: they are what the base counted, less the
// ones that c does not take over.
func (b *builder) inherit(c *buildingCatalog) error {
	if len(c.reused) == 0 {
		return nil
	}
	old, err := c.base.cat.Statistics()
	if err != nil {
		return err
	}
	c.stats.Subtree.Add(old.Subtree)
	all, err := c.base.cat.Nested()
	if err != nil {
		return err
	}
	for _, n := range all {
		if n.Bind || c.reused[n.Path] {
			continue
		}
		gone, err := b.statistics(n)
		if err != nil {
			return err
		}
		c.stats.Subtree.Sub(gone.Total())
	}
	return nil
}

// finish completes and stores a catalog once its children have their hashes.
func (b *builder) finish(c *buildingCatalog) error {
	defer os.Remove(c.file)
	for _, child := range c.children {
		<-child.done
		if child.err != nil {
			c.w.Abort()
			return child.err
		}
		if err := c.w.AddNested(catalog.Nested{Path: child.path, Hash: child.hash, Size: child.size}); err != nil {
			return err
		}
		c.stats.Subtree.Add(child.stats.Total())
	}
	c.children = nil
	c.stats.Self = c.w.Counters()
	if err := c.w.Finish(b.properties(c), c.stats); err != nil {
		return err
	}
	st, err := os.Stat(c.file)
	if err != nil {
		return err
	}
	c.size = st.Size()
	if c.hash, err = b.store.putFile(b.ctx, c.file, cas.CatalogSuffix); err != nil {
		return fmt.Errorf("catalog of %q: %w", c.path, err)
	}
	return nil
}

func (b *builder) properties(c *buildingCatalog) catalog.Properties {
	if c.path == "" {
		return b.props
	}
	p := catalog.Properties{Revision: b.props.Revision, LastModified: b.props.LastModified}
	if c.base != nil {
		p.Previous = c.base.hash
	}
	return p
}

// wait returns the root catalog when all are stored.
func (b *builder) wait() (*buildingCatalog, error) {
	if err := b.pending.Wait(); err != nil {
		return nil, err
	}
	return b.root, nil
}

// abort gives up on the catalogs that are still open.
func (b *builder) abort() {
	for _, d := range b.dirs {
		if d.starts {
			d.catalog.w.Abort()
			d.catalog.err = context.Canceled
			close(d.catalog.done)
		}
	}
	b.pending.Wait()
}
