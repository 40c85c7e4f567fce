package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
)

var refSuffix = map[catalog.RefType]cas.Suffix{
	catalog.RefCatalog: cas.CatalogSuffix, catalog.RefCertificate: cas.CertificateSuffix,
	catalog.RefHistory: cas.HistorySuffix, catalog.RefMetainfo: cas.MetainfoSuffix,
}

// sweep deletes the revisions that are not kept and drops them from the reflog.
func (gc *collector) sweep() error {
	gc.kept.sort()
	var left []catalog.Ref
	for _, r := range gc.log.Refs {
		o := cas.Object{Hash: r.Hash, Suffix: refSuffix[r.Type]}
		if gc.kept.has(keyOf(o)) {
			left = append(left, r)
			continue
		}
		if r.Type != catalog.RefCatalog {
			if err := gc.delete(o); err != nil {
				return err
			}
			continue
		}
		gc.c.Revisions++
		if err := gc.condemn(r.Hash, -1, ""); err != nil {
			return fmt.Errorf("revision with root catalog %s: %w", r.Hash, err)
		}
	}
	gc.log.Refs = left
	return gc.settle()
}

// condemn deletes a catalog's tree, the catalog last: until then it is the only
// one that knows the rest. Parts that are gone went in an earlier run.
func (gc *collector) condemn(h cas.Hash, size int64, prefix string) error {
	self := cas.Object{Hash: h, Suffix: cas.CatalogSuffix}
	if gc.kept.has(keyOf(self)) || gc.deleted[keyOf(self)] {
		return nil
	}
	cat, err := gc.tx.rev.Catalog(gc.ctx, h, size, prefix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	all, err := cat.Nested()
	if err != nil {
		return err
	}
	for _, n := range all {
		if n.Bind {
			continue
		}
		if err := gc.condemn(n.Hash, n.Size, n.Path); err != nil {
			return err
		}
	}
	if err := gc.objects(cat, prefix, func(o cas.Object) (bool, error) { return true, gc.delete(o) }); err != nil {
		return err
	}
	if err := gc.settle(); err != nil {
		return err
	}
	return gc.delete(self)
}

// settle waits for the deletions under way.
func (gc *collector) settle() error {
	if gc.deleting == nil {
		return nil
	}
	err := gc.deleting.Wait()
	gc.deleting = nil
	return err
}

// delete removes an object unless a kept revision has it.
func (gc *collector) delete(o cas.Object) error {
	k := keyOf(o)
	if gc.kept.has(k) || gc.deleted[k] {
		return nil
	}
	gc.deleted[k] = true
	gc.later(func() error { return gc.deleteFile(o.Name()) })
	return nil
}

// later runs fn beside others; settle returns its error.
func (gc *collector) later(fn func() error) {
	if gc.deleting == nil {
		gc.deleting = &errgroup.Group{}
		gc.deleting.SetLimit(parallel(gc.tx.storage))
	}
	gc.deleting.Go(fn)
}

func (gc *collector) deleteFile(name string) error {
	size, ok, err := gc.tx.storage.Has(gc.ctx, name)
	if err != nil || !ok {
		return err
	}
	return gc.deleteSized(name, size)
}

// deleteSized deletes a file that is there.
func (gc *collector) deleteSized(name string, size int64) error {
	gc.mu.Lock()
	gc.c.Objects++
	gc.c.Bytes += size
	if gc.o.Deleted != nil {
		gc.o.Deleted(name)
	}
	gc.mu.Unlock()
	if gc.o.DryRun {
		return nil
	}
	if err := gc.tx.lease.Valid(gc.ctx); err != nil {
		return err
	}
	return gc.tx.storage.Delete(gc.ctx, name)
}

// orphans deletes what no revision names and nobody is writing.
func (gc *collector) orphans() error {
	before := gc.tx.now.Add(-max(gc.o.OrphanAge, 0))
	for f, err := range gc.tx.storage.List(gc.ctx, "data/") {
		if err != nil {
			return err
		}
		k, ok := parseName(f.Name)
		if !f.Modified.Before(before) || ok && (gc.kept.has(k) || gc.deleted[k]) || !ok && !strings.HasPrefix(f.Name, "data/txn/") {
			continue
		}
		gc.later(func() error { return gc.deleteSized(f.Name, f.Size) })
	}
	return gc.settle()
}
