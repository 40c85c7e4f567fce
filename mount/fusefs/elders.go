package fusefs

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/flatrun/flatrun/mount/catalog"
)

// eldest finds the catalog and row by which a file goes: those of the earliest catalog at this place that the kernel still
// knows ids of and that has the very same entry. So a file that did not change keeps its id and its page cache although a
// new revision wrote its catalog anew. For a hard-linked entry, row is its group's first.
func (fs *FS) eldest(t *tree, e *catalog.Entry, row int64) (*numbered, int64) {
	for _, elder := range t.elders {
		if elder.known.Load() == 0 || !fs.remembers(elder) {
			continue
		}
		old, found, err := elder.Lookup(e.Path)
		// An earlier catalog that cannot be read any more costs the file its old id, nothing else.
		if err != nil || !found || !sameEntry(&old, e) {
			continue
		}
		if same, err := sameContent(elder.Catalog, t.cat.Catalog, &old, e); err != nil || !same {
			continue
		}
		if row, err := identity(elder.Catalog, &old); err == nil {
			return elder, row
		}
	}
	return t.cat, row
}

// identity is the row by which an entry goes: the first of its hard-link group, or its own.
func identity(c *catalog.Catalog, e *catalog.Entry) (int64, error) {
	if e.LinkGroup == 0 {
		return e.Row, nil
	}
	return c.GroupFirst(e.Parent, e.LinkGroup)
}

const (
	// elderPatience is how long an earlier catalog is waited for that an earlier server had opened.
	elderPatience = 2 * time.Second
	// elderPause is for how long, after one did not come, the others are asked of the cache only: where the network is down, a
	// look-up must not wait for all of them, one after the other.
	elderPause = time.Minute
)

// remembers tells whether an earlier catalog can be asked.
func (fs *FS) remembers(elder *numbered) bool {
	if elder.lost.Load() {
		return false
	}
	patience := elderPatience
	if late := fs.elderLate.Load(); late != nil && time.Since(*late) < elderPause {
		patience = 0
	}
	ctx, cancel := context.WithTimeout(fs.ctx, patience)
	defer cancel()
	err := fs.load(ctx, elder)
	if err != nil {
		if patience > 0 && ctx.Err() != nil {
			now := time.Now()
			fs.elderLate.Store(&now)
		}
		elder.lost.Store(true)
		fs.log.Info("unchanged files get new ids", "catalog", elder.hash, "reason", err)
	}
	return err == nil
}

// sameContent compares what two equal-looking entries of two catalogs keep outside their rows.
func sameContent(a, b *catalog.Catalog, old, e *catalog.Entry) (same bool, err error) {
	same = true
	if same && e.Flags&catalog.Chunked != 0 {
		same, err = equal(a.Chunks, b.Chunks, old.Path, e.Path, slices.Equal)
	}
	if same && err == nil && e.HasXattrs {
		same, err = equal(a.Xattrs, b.Xattrs, old.Row, e.Row, equalAttrs)
	}
	// Were one member of a group to keep its id and another not, they would stop being one file.
	if same && err == nil && e.LinkGroup != 0 {
		names := func(c *catalog.Catalog) func(*catalog.Entry) ([]string, error) {
			return func(e *catalog.Entry) ([]string, error) { return members(c, e) }
		}
		same, err = equal(names(a), names(b), old, e, slices.Equal)
	}
	return same && err == nil, err
}

// equal asks two catalogs the same question.
func equal[K, V any](a, b func(K) (V, error), ka, kb K, eq func(V, V) bool) (bool, error) {
	va, err := a(ka)
	if err != nil {
		return false, err
	}
	vb, err := b(kb)
	return err == nil && eq(va, vb), err
}

func equalAttrs(a, b map[string][]byte) bool { return maps.EqualFunc(a, b, slices.Equal) }

// members are the names of e's hard-link group, sorted.
func members(c *catalog.Catalog, e *catalog.Entry) (names []string, err error) {
	err = c.List(e.Parent, func(other catalog.Entry) error {
		if other.LinkGroup == e.LinkGroup {
			names = append(names, other.Name)
		}
		return nil
	})
	slices.Sort(names)
	return names, err
}
