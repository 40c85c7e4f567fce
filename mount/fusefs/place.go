package fusefs

import (
	"context"
	"fmt"
	"sync"

	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/repo"
)

// state is the revision that the requests about a view are answered from.
type state struct {
	view       *view
	rev        *repo.Revision
	generation uint64
	root       *place
}

// newState prepares a revision; the kernel does not see it yet.
func (fs *FS) newState(v *view, rev *repo.Revision, generation uint64) (*state, error) {
	root := rev.Root()
	t, err := fs.tree(root, "")
	if err != nil {
		return nil, err
	}
	return stateAt(v, rev, generation, t, &root.Entry), nil
}

// stateAt is the revision whose root catalog is t, with root as its own entry.
func stateAt(v *view, rev *repo.Revision, generation uint64, t *tree, root *catalog.Entry) *state {
	return &state{view: v, rev: rev, generation: generation,
		root: &place{generation: generation, holder: t, row: root.Row, xattrs: root.HasXattrs, inside: t}}
}

// tree is a catalog at the place where a revision mounts it: what the children of a directory are found in.
type tree struct {
	cat    *numbered
	root   repo.Node
	at     string      // path in the repository; differs from the catalog's own prefix at a bind mountpoint
	elders []*numbered // catalogs of earlier revisions at the same place whose ids the kernel may know, the first used first
}

func (fs *FS) tree(root repo.Node, at string) (*tree, error) {
	cat, err := fs.numbers.get(root)
	if err != nil {
		return nil, unavailable(err)
	}
	return &tree{cat: cat, root: root, at: at, elders: fs.lineages.add(at, cat, fs.memory)}, nil
}

// hash is the path hash under which the catalog knows the path.
func (t *tree) hash(path string) catalog.PathHash { return catalog.HashPath(t.local(path)) }

// local is the catalog's own name for the path.
func (t *tree) local(path string) string { return t.cat.Prefix() + path[len(t.at):] }

// node is an entry of the tree in the form that the repository takes.
func (t *tree) node(e catalog.Entry, path string) repo.Node {
	n := t.root
	n.Entry, n.Path, n.Ident = e, path, e.Row
	return n
}

// lookup finds the entry at path, if it is in this catalog.
func (t *tree) lookup(path string) (e catalog.Entry, found bool, err error) {
	e, found, err = t.cat.Lookup(t.hash(path))
	return e, found, unavailable(err)
}

// transition marks directories whose children are in a catalog of their own.
const transition = catalog.NestedMount | catalog.BindMount

// place is where one revision keeps a directory.
type place struct {
	generation uint64
	holder     *tree // the catalog with the entry; at a transition point the parent's, so that looking at it loads no child
	row        int64
	xattrs     bool

	mu     sync.Mutex
	inside *tree // where the children are; nil until a transition point is first passed
}

// newPlace is the place of the directory that e, found in t, describes.
func newPlace(st *state, t *tree, row int64, flags catalog.Flags, xattrs bool) *place {
	p := &place{generation: st.generation, holder: t, row: row, xattrs: xattrs}
	if flags&transition == 0 {
		p.inside = t
	}
	return p
}

// place finds the directory in the revision st.
func (fs *FS) place(ctx context.Context, st *state, d *dir) (*place, error) {
	if p := d.place.Load(); p != nil && p.generation == st.generation {
		return p, nil
	}
	p, err := fs.find(ctx, st, d.path)
	if err != nil {
		return nil, err
	}
	d.place.Store(p)
	return p, nil
}

// find walks to the directory at path, from the nearest directory above whose place is known.
func (fs *FS) find(ctx context.Context, st *state, path string) (*place, error) {
	if path == "" {
		return st.root, nil
	}
	up := catalog.Parent(path)
	var above *place
	var err error
	if d := fs.dirs.find(st.view, up); d != nil {
		above, err = fs.place(ctx, st, d)
	} else {
		above, err = fs.find(ctx, st, up)
	}
	if err != nil {
		return nil, err
	}
	t, err := fs.inside(ctx, st, above, up)
	if err != nil {
		return nil, err
	}
	e, found, err := t.lookup(path)
	if err != nil {
		return nil, err
	}
	if !found || !e.IsDir() {
		return nil, fmt.Errorf("%q: %w", path, errStale)
	}
	return newPlace(st, t, e.Row, e.Flags, e.HasXattrs), nil
}

// inside is where the children of the directory at path are, loading the child catalog of a transition point.
func (fs *FS) inside(ctx context.Context, st *state, p *place, path string) (*tree, error) {
	p.mu.Lock()
	t := p.inside
	p.mu.Unlock()
	if t != nil {
		return t, nil
	}
	t, err := fs.pass(ctx, st, p, path)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inside == nil { // else another request was faster
		p.inside = t
	}
	return p.inside, nil
}

// pass loads the catalog that takes over at the transition point path.
func (fs *FS) pass(ctx context.Context, st *state, p *place, path string) (t *tree, err error) {
	e, err := p.holder.cat.row(p.row)
	if err != nil {
		return nil, err
	}
	root, err := st.rev.Enter(ctx, p.holder.node(e, path))
	if err == nil {
		t, err = fs.tree(root, path)
	}
	return t, unavailable(err)
}

// lineages remembers which catalogs the revisions of this mount had at each place.
type lineages struct {
	mu sync.Mutex
	at map[string][]*numbered
}

// maxElders bounds how many earlier catalogs are asked whether they have an entry already: more than that, and an unchanged
// file gets a new id, which costs a read of its data and nothing else.
const maxElders = 4

// add notes that cat is now at path, and answers the earlier ones whose ids the kernel may know.
func (l *lineages) add(path string, cat *numbered, note *notebook) (elders []*numbered) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var alive []*numbered
	present := false
	for _, n := range l.at[path] {
		if n.known.Load() == 0 {
			continue
		}
		present = present || n == cat
		alive = append(alive, n)
		if !present && len(elders) < maxElders {
			elders = append(elders, n)
		}
	}
	if !present {
		alive = append(alive, cat)
		note.note(noteLineage, []uint64{cat.number}, path)
	}
	if l.at == nil {
		l.at = make(map[string][]*numbered)
	}
	l.at[path] = alive
	return elders
}

// join is the path of name in the directory dir.
func join(dir, name string) string { return dir + "/" + name }
