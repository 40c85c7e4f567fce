package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/deflate"
	"github.com/flatrun/flatrun/mount/repo"
)

// CheckOptions say how thorough a check is.
type CheckOptions struct {
	ReadOptions
	Data bool // read every object and compute its hash; else only look whether it is there
	Tags bool // also the revisions that tags name, not the head alone
	// Progress is told the number of entries and objects so far; nil: nobody.
	Progress func(entries, objects int64)
}

// Report is what a check found.
type Report struct {
	Revision                            uint64
	Catalogs, Entries, Objects, Missing int64
	Bytes                               int64 // of the objects as stored
	Problems                            []string
}

// maxProblems is how many problems are described; more are only counted.
const maxProblems = 1000

// Check verifies a repository: signatures, head, every catalog of the head's
// tree with all its statistics, and every object. What it finds is in the
// report; its error tells that it could not go on.
func Check(ctx context.Context, s Storage, o CheckOptions) (*Report, error) {
	c := &checker{s: s, o: o, seen: map[cas.Object]bool{}, catalogs: map[cas.Hash]catalog.Statistics{}}
	v, err := openView(ctx, s, o.ReadOptions)
	if err != nil {
		return nil, err
	}
	defer v.close()
	c.v = v
	m := v.rev.Manifest()
	c.report.Revision = m.Revision
	c.objects, ctx = errgroup.WithContext(ctx)
	c.objects.SetLimit(max(2*runtime.GOMAXPROCS(0), parallel(s)))
	err = c.all(ctx, m)
	if werr := c.objects.Wait(); err == nil {
		err = werr
	}
	c.report.Objects, c.report.Bytes, c.report.Missing = c.done.Load(), c.bytes.Load(), c.missing.Load()
	return &c.report, err
}

// checker collects what is wrong.
type checker struct {
	s       Storage
	o       CheckOptions
	v       *view
	objects *errgroup.Group
	seen    map[cas.Object]bool // objects handed to the workers
	// catalogs holds what a checked catalog counts, with all below it.
	catalogs map[cas.Hash]catalog.Statistics

	done, bytes, missing atomic.Int64
	mu                   sync.Mutex
	problems             int
	report               Report
}

func (c *checker) problem(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problems++
	switch {
	case c.problems <= maxProblems:
		c.report.Problems = append(c.report.Problems, fmt.Sprintf(format, args...))
	case c.problems == maxProblems+1:
		c.report.Problems = append(c.report.Problems, "and more")
	}
}

// all checks the head and the trees.
func (c *checker) all(ctx context.Context, m *repo.Manifest) error {
	history, err := c.head(ctx, m)
	if err != nil {
		return err
	}
	if err := c.tree(ctx, m.Root, m.RootSize); err != nil || !c.o.Tags || history == nil {
		return err
	}
	for _, t := range history.Tags {
		if err := c.tree(ctx, t.Hash, t.Size); err != nil {
			return fmt.Errorf("tag %s: %w", t.Name, err)
		}
	}
	return nil
}

// head checks what the manifest names besides the root catalog, and returns
// the tags.
func (c *checker) head(ctx context.Context, m *repo.Manifest) (*catalog.History, error) {
	for _, o := range []cas.Object{
		{Hash: m.Certificate, Suffix: cas.CertificateSuffix, Size: -1}, {Hash: m.History, Suffix: cas.HistorySuffix, Size: -1},
		{Hash: m.Metainfo, Suffix: cas.MetainfoSuffix, Size: -1},
	} {
		if !o.Hash.IsZero() {
			c.object(ctx, "manifest", o)
		}
	}
	if err := c.packing(ctx, m); err != nil {
		return nil, err
	}
	if err := c.reflog(ctx, m); err != nil {
		return nil, err
	}
	history, err := readHistory(ctx, c.s, m, c.v.scratch)
	if err != nil {
		c.problem("tags: %v", err)
		return nil, nil
	}
	if history.FQRN != m.Name {
		c.problem("tags: they are those of %q", history.FQRN)
	}
	for _, t := range history.Tags {
		_, ok, err := c.s.Has(ctx, cas.Object{Hash: t.Hash, Suffix: cas.CatalogSuffix}.Name())
		if err != nil {
			return nil, err
		}
		if !ok {
			c.problem("tag %s: its root catalog %s is missing", t.Name, t.Hash)
		}
	}
	return history, nil
}

// packing looks whether certificate and metainfo are as the official replication stores them, which unpacks and packs these
// two: earlier versions of this package packed them otherwise, and a replica then has other bytes under their names.
func (c *checker) packing(ctx context.Context, m *repo.Manifest) error {
	for what, o := range map[string]cas.Object{
		"certificate": {Hash: m.Certificate, Suffix: cas.CertificateSuffix}, "metainfo": {Hash: m.Metainfo, Suffix: cas.MetainfoSuffix},
	} {
		if o.Hash.IsZero() {
			continue
		}
		stored, err := readAll(ctx, c.s, o.Name(), maxHeadFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue // told already
		}
		if err != nil {
			return err
		}
		plain, err := io.ReadAll(io.LimitReader(deflate.NewReader(bytes.NewReader(stored), deflate.Zlib), deflate.MaxExact+1))
		if err == nil && len(plain) <= deflate.MaxExact && !bytes.Equal(deflate.Exact(plain), stored) {
			c.problem("%s: replicas that the official tools make will have other bytes under its name: flathub resign %s", what, m.Name)
		}
	}
	return nil
}

func (c *checker) reflog(ctx context.Context, m *repo.Manifest) error {
	if m.Reflog.IsZero() {
		return nil
	}
	got, err := hashReflog(ctx, c.s, m.Reflog.Algorithm())
	if errors.Is(err, fs.ErrNotExist) {
		c.problem("reflog: missing")
		return nil
	}
	if err != nil {
		return err
	}
	log, err := readReflog(ctx, c.s, c.v.scratch)
	if err != nil {
		c.problem("reflog: %v", err)
		return nil
	}
	if got != m.Reflog {
		// The official garbage collection leaves the manifest alone.
		c.problem("reflog: its hash is %s, the manifest says %s; the official server's gc leaves it so until something is "+
			"published, and a replica has its own; else it is damaged; flathub resign signs it as it is", got, m.Reflog)
	}
	have := map[cas.Hash]bool{}
	for _, r := range log.Refs {
		have[r.Hash] = true
	}
	for name, h := range map[string]cas.Hash{"root catalog": m.Root, "certificate": m.Certificate, "tags": m.History, "metainfo": m.Metainfo} {
		if !h.IsZero() && !have[h] {
			c.problem("reflog: the %s %s is not in it", name, h)
		}
	}
	return nil
}

// object has a worker check an object, once.
func (c *checker) object(ctx context.Context, of string, o cas.Object) {
	key := cas.Object{Hash: o.Hash, Suffix: o.Suffix, Compression: o.Compression}
	if c.seen[key] {
		return
	}
	c.seen[key] = true
	c.objects.Go(func() error {
		size, ok, err := c.s.Has(ctx, o.Name())
		switch {
		case err != nil:
			return err
		case !ok:
			c.missing.Add(1)
			c.problem("%s: its object %s is missing", display(of), o.Name())
			return nil
		}
		c.done.Add(1)
		c.bytes.Add(size)
		if !c.o.Data {
			return nil
		}
		if err := copyObject(ctx, c.s, o, io.Discard); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			c.problem("%s: its object %s: %v", display(of), o.Name(), err)
		}
		return nil
	})
}
