package publish

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"strconv"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/repo"
)

// ReadOptions are how a repository is read for inspection. No lock is needed:
// a reader sees one revision whatever is published meanwhile.
type ReadOptions struct {
	Options
	Public []*rsa.PublicKey // master keys
}

// view is a repository opened for inspection.
type view struct {
	s       Storage
	repo    *repo.Repository
	rev     *repo.Revision
	scratch string

	unscratch func() error // removes it; nil for that of a transaction
}

func openView(ctx context.Context, s Storage, o ReadOptions) (*view, error) {
	o.fill()
	scratch, unscratch, err := newScratch(o.Scratch)
	if err != nil {
		return nil, err
	}
	r, err := openRepository(ctx, s, Keys{Public: o.Public}, o.Options, scratch, "")
	if err != nil {
		return nil, errors.Join(err, unscratch())
	}
	return &view{s, r, r.Head(), scratch, unscratch}, nil
}

func (v *view) close() error { return errors.Join(v.repo.Close(), v.unscratch()) }

func (v *view) tree(h cas.Hash, size int64) *baseTree {
	return &baseTree{open: v.rev.Catalog, rootHash: h, rootSize: size}
}

// resolve finds a revision by the name of a tag, its number, the hash of its
// root catalog, or "" for the head.
func (v *view) resolve(ctx context.Context, name string) (catalog.Tag, error) {
	m := v.rev.Manifest()
	head := catalog.Tag{Name: trunk, Hash: m.Root, Size: m.RootSize, Revision: m.Revision, Timestamp: m.Timestamp}
	if name == "" {
		return head, nil
	}
	h, err := readHistory(ctx, v.s, m, v.scratch)
	if err != nil {
		return head, err
	}
	if t, ok := h.Find(name); ok {
		return t, nil
	}
	if hash, err := cas.ParseHash(name); err == nil {
		return catalog.Tag{Name: name, Hash: hash, Size: -1}, nil
	}
	n, err := strconv.ParseUint(name, 10, 64)
	if err != nil {
		return head, fmt.Errorf("revision %q: %w: want a tag, a number or a root catalog's hash; see flathub tag --list", name, repo.ErrNoTag)
	}
	return v.numbered(ctx, n, append(h.Tags, head))
}

// numbered looks for revision n among tags, then along the chain of
// predecessors from the head.
func (v *view) numbered(ctx context.Context, n uint64, tags []catalog.Tag) (catalog.Tag, error) {
	for _, t := range tags {
		if t.Revision == n {
			return t, nil
		}
	}
	var found catalog.Tag
	err := v.chain(ctx, func(h cas.Hash, p catalog.Properties) bool {
		if p.Revision == n {
			found = catalog.Tag{Name: strconv.FormatUint(n, 10), Hash: h, Size: -1, Revision: n, Timestamp: p.LastModified}
		}
		return p.Revision > n
	})
	if err == nil && found.Hash.IsZero() {
		err = fmt.Errorf("revision %d: %w: it never was or was collected", n, repo.ErrNoTag)
	}
	return found, err
}

// chain visits the root catalogs from the head back as long as visit returns
// true and they are there.
func (v *view) chain(ctx context.Context, visit func(cas.Hash, catalog.Properties) bool) error {
	for h := v.rev.Manifest().Root; !h.IsZero(); {
		_, ok, err := v.s.Has(ctx, cas.Object{Hash: h, Suffix: cas.CatalogSuffix}.Name())
		if err != nil || !ok {
			return err
		}
		c, err := v.rev.Catalog(ctx, h, -1, "")
		if err != nil {
			return err
		}
		p, err := c.Properties()
		if err != nil || !visit(h, p) {
			return err
		}
		h = p.Previous
	}
	return nil
}
