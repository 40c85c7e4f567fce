package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/repo"
)

// Tags lists the named revisions, oldest first.
func Tags(ctx context.Context, s Storage, o ReadOptions) ([]catalog.Tag, error) {
	v, err := openView(ctx, s, o)
	if err != nil {
		return nil, err
	}
	defer v.close()
	return v.repo.Tags(ctx)
}

// AddTag names a revision: a tag's, a number's, a root catalog's, or "" for the
// head's. A tag of that name moves.
func AddTag(ctx context.Context, s Storage, keys Keys, o Options, name, revision, description string) (*repo.Manifest, error) {
	if err := checkTag(name); err != nil || name == "" {
		return nil, fmt.Errorf("add tag: %w", orEmpty(err))
	}
	return editHead(ctx, s, keys, o, func(tx *Tx, h *head) error {
		t, err := tx.view().resolve(ctx, revision)
		if err != nil {
			return err
		}
		if t, err = tx.completeTag(ctx, t); err != nil {
			return err
		}
		t.Name, t.Description = name, description
		h.history.Set(t)
		return nil
	})
}

func orEmpty(err error) error {
	if err == nil {
		return fmt.Errorf("a tag needs a name")
	}
	return err
}

// completeTag fills in what is known of a revision that was named by its hash.
func (tx *Tx) completeTag(ctx context.Context, t catalog.Tag) (catalog.Tag, error) {
	c, err := tx.rev.Catalog(ctx, t.Hash, -1, "")
	if err != nil {
		return t, fmt.Errorf("revision with root catalog %s: %w", t.Hash, err)
	}
	p, err := c.Properties()
	if err != nil {
		return t, err
	}
	t.Revision, t.Timestamp = p.Revision, p.LastModified
	if t.Size < 0 {
		t.Size, err = catalogSize(ctx, tx.storage, t.Hash)
	}
	return t, err
}

// catalogSize is the uncompressed size of a stored catalog.
func catalogSize(ctx context.Context, s Storage, h cas.Hash) (int64, error) {
	b, err := cas.ReadVerified(ctx, Fetcher(s), cas.Object{Hash: h, Suffix: cas.CatalogSuffix, Size: -1})
	return int64(len(b)), err
}

// RemoveTags removes tags; the revisions they named live on until they are
// collected.
func RemoveTags(ctx context.Context, s Storage, keys Keys, o Options, names ...string) (*repo.Manifest, error) {
	return editHead(ctx, s, keys, o, func(tx *Tx, h *head) error {
		for _, name := range names {
			if name == trunk || name == trunkPrevious {
				return fmt.Errorf("remove tag %s: the name is the repository's own", name)
			}
			if !h.history.Remove(name) {
				return fmt.Errorf("remove tag %s: there is none", name)
			}
		}
		return nil
	})
}

// editHead changes tags and other parts of the head, not the tree.
func editHead(ctx context.Context, s Storage, keys Keys, o Options, edit func(*Tx, *head) error) (*repo.Manifest, error) {
	tx, err := Begin(ctx, s, keys, o)
	if err != nil {
		return nil, err
	}
	return tx.editHead(ctx, edit)
}

// editHead ends the transaction with another head of the same tree.
func (tx *Tx) editHead(ctx context.Context, edit func(*Tx, *head) error) (_ *repo.Manifest, err error) {
	defer tx.Abort()
	h := head{manifest: *tx.rev.Manifest()}
	h.manifest.Timestamp = tx.now.Unix()
	if h.history, err = tx.history(ctx); err != nil {
		return nil, err
	}
	if err := edit(tx, &h); err != nil {
		return nil, err
	}
	return tx.head().write(ctx, h)
}

// view is the transaction's base for inspection; it must not be closed.
func (tx *Tx) view() *view { return &view{tx.storage, tx.repo, tx.rev, tx.scratch, nil} }

// RollbackOptions say what becomes of the tags.
type RollbackOptions struct {
	// KeepTags leaves all tags where they are and lets trunk-previous name what
	// is rolled back, so that it can be undone.
	KeepTags bool
}

// Rollback publishes an earlier revision, named as for AddTag, as the newest:
// clients never go back, so it gets the next number. "" is trunk-previous.
//
// As the official server does it, the tags of later revisions are removed,
// trunk-previous with them, and the tag that named the revision moves to the
// new one. What was rolled back stays where it is until it is collected. The
// removed tags are returned.
func Rollback(ctx context.Context, s Storage, keys Keys, o Options, revision string, how RollbackOptions) (m *repo.Manifest, removed []catalog.Tag, err error) {
	if revision == "" {
		revision = trunkPrevious
	}
	m, err = editHead(ctx, s, keys, o, func(tx *Tx, h *head) error {
		t, err := tx.rollbackTarget(ctx, revision, h)
		if err != nil {
			return fmt.Errorf("roll back to %s: %w", revision, err)
		}
		tx.base = tx.view().tree(t.Hash, t.Size)
		if err := tx.rewrite(ctx, &h.manifest); err != nil {
			return fmt.Errorf("roll back to %s: %w", revision, err)
		}
		if how.KeepTags {
			tagHead(h.history, tx.rev.Manifest(), &h.manifest, CommitOptions{NoTag: true})
		} else {
			removed = rollTags(h.history, t, &h.manifest)
		}
		return nil
	})
	return m, removed, err
}

// rollbackTarget finds the revision to return to, complete.
func (tx *Tx) rollbackTarget(ctx context.Context, revision string, h *head) (catalog.Tag, error) {
	if _, ok := h.history.Find(trunkPrevious); !ok && revision == trunkPrevious {
		return catalog.Tag{}, fmt.Errorf("%w: only the last publication can be undone without a name; name a revision, see flathub tag --list", repo.ErrNoTag)
	}
	t, err := tx.view().resolve(ctx, revision)
	switch {
	case err != nil:
		return t, err
	case t.Hash == h.manifest.Root:
		return t, errors.New("it is the newest revision")
	case t.Branch != "":
		return t, fmt.Errorf("it is on the branch %s", t.Branch)
	}
	return tx.completeTag(ctx, t)
}

// rollTags removes the tags of the main branch that are later than the target t,
// moves t to the new head m, and lets trunk name it, too.
func rollTags(h *catalog.History, t catalog.Tag, m *repo.Manifest) (removed []catalog.Tag) {
	_, named := h.Find(t.Name)
	h.Tags = slices.DeleteFunc(h.Tags, func(o catalog.Tag) bool {
		later := o.Branch == "" && (o.Revision > t.Revision || o.Name == trunkPrevious)
		if later && o.Name != trunk && o.Name != trunkPrevious {
			removed = append(removed, o)
		}
		return later
	})
	t.Hash, t.Size, t.Revision, t.Timestamp = m.Root, m.RootSize, m.Revision, m.Timestamp
	if named && t.Name != trunkPrevious {
		h.Set(t)
	}
	t.Name, t.Description = trunk, trunkDescription
	h.Set(t)
	return removed
}
