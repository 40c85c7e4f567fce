package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/repo"
)

// GCOptions say what garbage collection keeps: the head, every tagged revision,
// and of the others those that are recent by either measure.
type GCOptions struct {
	Keep     int           // revisions before the head
	KeepFor  time.Duration // younger than this; 0: 3 days, negative: none by age
	KeepTags time.Duration // generic tags younger than this; 0: KeepFor
	// Orphans also deletes objects that no revision ever named: what interrupted
	// runs left. It lists the whole storage.
	Orphans   bool
	OrphanAge time.Duration // of those; 0: a day, which other tools' publications may take; negative: any
	DryRun    bool
	// Deleted is told each file; nil: nobody.
	Deleted func(name string)
}

// Collected counts what a garbage collection deleted.
type Collected struct {
	Revisions, Tags, Objects int64
	Bytes                    int64
	Manifest                 *repo.Manifest // the head after it
}

const (
	defaultKeep = 3 * 24 * time.Hour
	orphanAge   = 24 * time.Hour
)

// GC deletes the objects that only revisions name which need not be kept. Never
// while something is published: it holds the publisher's lock. Clients that
// still look at a collected revision get errors for what they have not cached;
// KeepFor is the time they have to move on.
//
// Killed at any point it leaves the kept revisions whole; the next run goes on
// where it was, for a revision stays in the reflog until all of it is gone.
func GC(ctx context.Context, s Storage, keys Keys, o Options, g GCOptions) (c Collected, err error) {
	tx, err := Begin(ctx, s, keys, o)
	if err != nil {
		return c, err
	}
	defer tx.Abort()
	m := tx.rev.Manifest()
	if !m.Collectable {
		return c, fmt.Errorf("collect garbage of %s: its manifest forbids it", m.Name)
	}
	log, err := readReflog(ctx, s, tx.scratch)
	if errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("collect garbage of %s: it has no reflog, so nobody knows what was published: %w", m.Name, err)
	}
	if err != nil {
		return c, err
	}
	if g.KeepFor == 0 {
		g.KeepFor = defaultKeep
	}
	if g.OrphanAge == 0 {
		g.OrphanAge = orphanAge
	}
	if g.KeepTags == 0 {
		g.KeepTags = g.KeepFor
	}
	gc := &collector{ctx: ctx, tx: tx, o: g, log: log, manifest: *m, deleted: map[objectKey]bool{}}
	if err := errors.Join(gc.run(), gc.settle()); err != nil {
		return gc.c, fmt.Errorf("collect garbage of %s: %w", m.Name, err)
	}
	gc.c.Manifest = &gc.manifest
	return gc.c, nil
}

// collector is one garbage collection.
type collector struct {
	ctx      context.Context
	tx       *Tx
	o        GCOptions
	log      *catalog.Reflog
	manifest repo.Manifest

	kept    objectSet         // everything that kept revisions consist of
	roots   map[cas.Hash]bool // their root catalogs
	oldest  int64             // time of the oldest one
	deleted map[objectKey]bool

	deleting *errgroup.Group
	mu       sync.Mutex // guards c and o.Deleted
	c        Collected
}

func (gc *collector) run() error {
	if err := gc.expireTags(); err != nil {
		return err
	}
	if err := gc.mark(); err != nil {
		return err
	}
	if err := gc.sweep(); err != nil {
		return err
	}
	if gc.o.Orphans {
		if err := gc.orphans(); err != nil {
			return err
		}
	}
	if err := gc.finish(); err != nil || gc.o.DryRun {
		return err
	}
	gc.tx.ingester.contents.retain(gc.ctx, &gc.kept)
	gc.tx.saveContents(gc.ctx)
	return nil
}

// expireTags removes old generic tags and publishes the history without them,
// before anything that they name is deleted.
func (gc *collector) expireTags() error {
	h, err := gc.tx.history(gc.ctx)
	if err != nil {
		return err
	}
	before := gc.tx.now.Add(-max(gc.o.KeepTags, 0)).Unix()
	n := len(h.Tags)
	h.Tags = slices.DeleteFunc(h.Tags, func(t catalog.Tag) bool {
		return strings.HasPrefix(t.Name, generic) && genericNames.MatchString(t.Name) && t.Timestamp < before
	})
	gc.c.Tags = int64(n - len(h.Tags))
	gc.roots = map[cas.Hash]bool{gc.manifest.Root: true}
	for _, t := range h.Tags {
		gc.roots[t.Hash] = true
	}
	if gc.c.Tags == 0 || gc.o.DryRun {
		return nil
	}
	next := head{manifest: gc.manifest, history: h}
	next.manifest.Timestamp = gc.tx.now.Unix()
	m, err := gc.tx.head().write(gc.ctx, next)
	if err != nil {
		return err
	}
	return gc.moved(m)
}

// moved makes m the manifest that the next one replaces.
func (gc *collector) moved(m *repo.Manifest) (err error) {
	gc.manifest = *m
	if gc.tx.before, err = readAll(gc.ctx, gc.tx.storage, repo.ManifestName, maxHeadFile); err != nil {
		return err
	}
	gc.log, err = readReflog(gc.ctx, gc.tx.storage, gc.tx.scratch)
	return err
}

// mark finds everything that the kept revisions consist of.
func (gc *collector) mark() error {
	since := gc.tx.now.Add(-max(gc.o.KeepFor, 0)).Unix()
	n := 0
	err := gc.tx.view().chain(gc.ctx, func(h cas.Hash, p catalog.Properties) bool {
		if n > gc.o.Keep && (gc.o.KeepFor < 0 || p.LastModified < since) {
			return false
		}
		n++
		gc.roots[h] = true
		gc.oldest = p.LastModified
		return true
	})
	if err != nil {
		return err
	}
	for h := range gc.roots {
		if err := gc.walk(h, -1, "", gc.keep); err != nil {
			return fmt.Errorf("revision with root catalog %s: %w", h, err)
		}
	}
	m := &gc.manifest
	for _, o := range []cas.Object{
		{Hash: m.Certificate, Suffix: cas.CertificateSuffix}, {Hash: m.History, Suffix: cas.HistorySuffix},
		{Hash: m.Metainfo, Suffix: cas.MetainfoSuffix},
	} {
		gc.kept.add(keyOf(o))
	}
	for _, r := range gc.log.Refs {
		if r.Type != catalog.RefCatalog && r.Timestamp >= gc.oldest {
			gc.kept.add(keyOf(cas.Object{Hash: r.Hash, Suffix: refSuffix[r.Type]}))
		}
	}
	return nil
}

func (gc *collector) keep(o cas.Object) (bool, error) {
	k := keyOf(o)
	if o.Suffix == cas.CatalogSuffix && gc.kept.has(k) {
		return false, nil
	}
	gc.kept.add(k)
	return true, nil
}

// walk visits the objects of a catalog's tree: a catalog before what is in it,
// where visit may refuse to go, and again, with after, behind it.
func (gc *collector) walk(h cas.Hash, size int64, prefix string, visit func(cas.Object) (bool, error)) error {
	self := cas.Object{Hash: h, Suffix: cas.CatalogSuffix}
	if in, err := visit(self); err != nil || !in {
		return err
	}
	cat, err := gc.tx.rev.Catalog(gc.ctx, h, size, prefix)
	if err != nil {
		return err
	}
	all, err := cat.Nested()
	if err != nil {
		return err
	}
	for _, n := range all {
		if n.Bind {
			continue // its revision is kept by its tag
		}
		if err := gc.walk(n.Hash, n.Size, n.Path, visit); err != nil {
			return err
		}
	}
	return gc.objects(cat, prefix, visit)
}

// objects visits what the entries of one catalog name.
func (gc *collector) objects(cat *catalog.Catalog, dir string, visit func(cas.Object) (bool, error)) error {
	var dirs []string
	err := cat.List(catalog.HashPath(dir), func(e catalog.Entry) error {
		switch {
		case e.IsDir():
			if e.Flags&(catalog.NestedMount|catalog.BindMount) == 0 {
				dirs = append(dirs, dir+"/"+e.Name)
			}
			return nil
		case !e.IsRegular() || e.Flags&catalog.External != 0:
			return nil
		}
		if !e.Hash.IsZero() {
			if _, err := visit(cas.Object{Hash: e.Hash}); err != nil {
				return err
			}
		}
		if e.Flags&catalog.Chunked == 0 {
			return nil
		}
		chunks, err := cat.Chunks(e.Path)
		for _, k := range chunks {
			if _, err := visit(cas.Object{Hash: k.Hash, Suffix: cas.PartialSuffix}); err != nil {
				return err
			}
		}
		return err
	})
	for _, d := range dirs {
		if err != nil {
			break
		}
		err = gc.objects(cat, d, visit)
	}
	if err == nil {
		err = gc.ctx.Err()
	}
	return err
}

// finish publishes the shortened reflog.
func (gc *collector) finish() error {
	if gc.o.DryRun {
		return nil
	}
	// A run that was killed before its manifest left a reflog that the manifest
	// does not name, though there is nothing to collect any more.
	stored, err := hashReflog(gc.ctx, gc.tx.storage, gc.manifest.Root.Algorithm())
	if err != nil {
		return err
	}
	if gc.c.Revisions == 0 && gc.c.Objects == 0 && stored == gc.manifest.Reflog {
		return nil
	}
	w := gc.tx.head()
	if gc.manifest.Reflog, err = w.replaceReflog(gc.ctx, gc.log, gc.manifest.Root.Algorithm()); err != nil {
		return err
	}
	gc.manifest.Timestamp = gc.tx.now.Unix()
	return w.sign(gc.ctx, &gc.manifest)
}
