package repo

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
)

// Revision is one immutable state of a repository. It stays usable after the
// head has moved on.
type Revision struct {
	repo     *Repository
	manifest *Manifest
	root     Node
	props    catalog.Properties
}

// Node is an entry of a revision together with where it was found.
type Node struct {
	Catalog     *catalog.Catalog
	CatalogHash cas.Hash
	Number      uint32 // the catalog's, see Repository.Numbered
	Entry       catalog.Entry
	Path        string // as seen by the user: "" for the root, else "/a/b"
	// Ident is the row that gives the entry its identity within its catalog: its
	// own, or that of the first member of its hard-link group.
	Ident int64

	mount string // where the catalog is mounted in Path
}

// CatalogPath is the path by which the catalog knows the entry: Path, except
// below a bind mountpoint.
func (n *Node) CatalogPath() string { return n.Catalog.Prefix() + n.Path[len(n.mount):] }

// revision opens the root catalog that m names.
func (r *Repository) revision(ctx context.Context, m *Manifest) (*Revision, error) {
	c, err := r.catalogs.get(ctx, r, cas.Object{Hash: m.Root, Size: m.RootSize, Alternative: m.AltPaths}, "")
	if err != nil {
		return nil, fmt.Errorf("root catalog: %w", err)
	}
	if prefix := c.Prefix(); prefix != "" {
		return nil, fmt.Errorf("root catalog %s: %w: it is that of %q", m.Root, catalog.ErrCorrupt, prefix)
	}
	v := &Revision{repo: r, manifest: m}
	v.props, _ = c.Properties()
	if err := r.blacklist().checkRevision(v.props.Revision); err != nil {
		return nil, err
	}
	if m.Revision == 0 { // pinned by its hash alone
		m.Revision, m.Timestamp = v.props.Revision, v.props.LastModified
	}
	v.root = c.node(c.Root(), "", "")
	return v, nil
}

// At opens the revision with the given root catalog, which the caller knows to have been verified before: here only the
// catalog's hash is, and that the site does not refuse the revision.
func (r *Repository) At(ctx context.Context, root cas.Hash) (*Revision, error) {
	v, err := r.revision(ctx, &Manifest{Name: r.cfg.FQRN, Root: root, RootSize: -1, TTL: defaultTTL})
	if err != nil {
		return nil, fmt.Errorf("repository %s: %w", r.cfg.FQRN, err)
	}
	return v, nil
}

// Manifest describes the revision. Where the revision is pinned, or comes from
// the cache of an unreachable repository, it says no more than is known.
func (v *Revision) Manifest() *Manifest { return v.manifest }

// Root is the root directory.
func (v *Revision) Root() Node { return v.root }

func (v *Revision) ttl() int64 {
	if v.props.TTL > 0 {
		return v.props.TTL
	}
	return v.manifest.TTL
}

// Catalog opens the catalog with the given hash, size (-1 for unknown) and
// prefix.
func (v *Revision) Catalog(ctx context.Context, h cas.Hash, size int64, prefix string) (*catalog.Catalog, error) {
	c, err := v.repo.catalogs.get(ctx, v.repo, cas.Object{Hash: h, Size: size}, prefix)
	if err != nil {
		return nil, err
	}
	return c.Catalog, nil
}

// registry knows the catalogs that a process has opened, by hash and by number.
// They hold only memory, about a kilobyte each, and are never forgotten: a
// number that the kernel was told stays right as long as the process lives.
type registry struct {
	mu       sync.Mutex
	byHash   map[cas.Hash]*numbered
	byNumber []*numbered // the number is the index plus one
}

type numbered struct {
	*catalog.Catalog
	hash   cas.Hash
	number uint32
}

// node makes a node of an entry of the catalog, mounted at mount.
func (c *numbered) node(e catalog.Entry, path, mount string) Node {
	return Node{Catalog: c.Catalog, CatalogHash: c.hash, Number: c.number, Entry: e, Path: path, Ident: e.Row, mount: mount}
}

// get answers an open catalog, or opens it.
func (g *registry) get(ctx context.Context, r *Repository, o cas.Object, prefix string) (*numbered, error) {
	g.mu.Lock()
	c := g.byHash[o.Hash]
	g.mu.Unlock()
	if c != nil {
		return c, nil
	}
	o.Suffix, o.Pinned = cas.CatalogSuffix, true
	first := true
	// Later calls come when a connection is opened again, long after ctx.
	cat, err := r.pool.Open(o.Hash.String(), prefix, func() (*os.File, error) {
		if first {
			first = false
			return r.cfg.Store.Open(ctx, o)
		}
		return r.cfg.Store.Open(context.WithoutCancel(ctx), o)
	})
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.byHash[o.Hash]; c != nil { // another goroutine was faster
		return c, nil
	}
	if g.byHash == nil {
		g.byHash = map[cas.Hash]*numbered{}
	}
	c = &numbered{Catalog: cat, hash: o.Hash, number: uint32(len(g.byNumber) + 1)}
	g.byHash[o.Hash] = c
	g.byNumber = append(g.byNumber, c)
	return c, nil
}

// Numbered is the catalog with the number n, whichever revision it belongs to.
// Each catalog hash has one number, from 1, as long as the repository is open.
func (r *Repository) Numbered(n uint32) (c *catalog.Catalog, h cas.Hash, ok bool) {
	r.catalogs.mu.Lock()
	defer r.catalogs.mu.Unlock()
	if n == 0 || int(n) > len(r.catalogs.byNumber) {
		return nil, cas.Hash{}, false
	}
	at := r.catalogs.byNumber[n-1]
	return at.Catalog, at.hash, true
}

// Catalogs is the number of catalogs opened so far.
func (r *Repository) Catalogs() int {
	r.catalogs.mu.Lock()
	defer r.catalogs.mu.Unlock()
	return len(r.catalogs.byNumber)
}

// NodeAt makes a node of an entry that is known by catalog number and row, as the
// file system's node ids are. It has no Path, and its CatalogPath is found by
// walking up; it serves for File, Readlink and Xattr of what is not a directory.
func (v *Revision) NodeAt(number uint32, row int64) (Node, error) {
	v.repo.catalogs.mu.Lock()
	var c *numbered
	if number > 0 && int(number) <= len(v.repo.catalogs.byNumber) {
		c = v.repo.catalogs.byNumber[number-1]
	}
	v.repo.catalogs.mu.Unlock()
	if c == nil {
		return Node{}, fmt.Errorf("catalog number %d: %w", number, os.ErrNotExist)
	}
	e, found, err := c.Row(row)
	if err != nil {
		return Node{}, err
	}
	if !found {
		return Node{}, fmt.Errorf("catalog %s: row %d: %w", c.hash, row, os.ErrNotExist)
	}
	path, err := c.Path(e)
	if err != nil {
		return Node{}, err
	}
	return c.node(e, path, c.Prefix()), nil
}
