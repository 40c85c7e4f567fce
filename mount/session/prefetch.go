package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/config"
	"github.com/flatrun/flatrun/mount/prefetch"
	"github.com/flatrun/flatrun/mount/repo"
)

// PrefetchConfig says what to bring into a cache before it is needed, for nodes that cannot fetch.
type PrefetchConfig struct {
	Image    string // as exec takes it, or the path of any file or directory below /cvmfs
	Into     string // a cache directory to fill, without a limit and open to the group; "" is the configured cache
	Settings *config.Config
	Log      *slog.Logger // nil discards

	// Profile fetches what the recorded start of the image touched, instead of all that is below it.
	Profile bool
	// Progress is called after each object, from many goroutines.
	Progress func(PrefetchReport)
}

// PrefetchReport counts objects and their uncompressed bytes. Catalogs are fetched on the way and not counted.
type PrefetchReport struct {
	FQRN, Path string // what was fetched, symbolic links followed
	Revision   uint64
	Dir        string // of the cache

	Files            int64
	Objects, Bytes   int64 // all, as far as found
	Found            bool  // no more will be found
	Fetched, Present int64 // objects
	DoneBytes        int64 // of both
	Wire             int64 // bytes that were transferred, compressed, catalogs included
	Failed           int64
}

// prefetchParallel is how many objects are in flight.
const prefetchParallel = 32

// prefetchFailures is how many objects may fail before the rest is given up: the network is gone then, not an object.
const prefetchFailures = 8

// prefetchRun is one run of Prefetch.
type prefetchRun struct {
	cfg    PrefetchConfig
	served *served
	limit  int64

	mu     sync.Mutex
	report PrefetchReport
	first  error // the first failure
}

// Prefetch fetches an image, or any part of a repository, with all catalogs that lead there. What the cache holds is not
// fetched again, so that an interrupted run can be taken up.
func Prefetch(ctx context.Context, cfg PrefetchConfig) (PrefetchReport, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	settings := *cfg.Settings
	settings.Native = false
	if cfg.Into != "" {
		// The new cache is to be whole: what a lower tier has does not count, unless it can be copied.
		settings.Cache = config.Cache{Dir: cfg.Into, Shared: true}
	}
	caches, err := openCaches(&settings, cfg.Log)
	if err != nil {
		return PrefetchReport{}, err
	}
	defer caches.lower.Close()
	r := &repositories{settings: &settings, caches: caches, log: cfg.Log, errors: &journal{}, slots: map[string]*slot{}}
	defer func() {
		for _, v := range r.mounted() {
			v.close()
		}
	}()
	place, v, err := r.find(ctx, cfg.Image)
	if err != nil {
		return PrefetchReport{}, err
	}
	p := &prefetchRun{cfg: cfg, served: v, limit: caches.limit}
	if settings.Cache.Shared {
		p.limit = 0
	}
	p.report = PrefetchReport{FQRN: place.where.FQRN, Path: place.where.InRepo, Revision: v.repo.Head().Manifest().Revision, Dir: caches.main.Dir()}
	err = p.run(ctx, place.where.InRepo)
	return p.state(), err
}

// find resolves the image without a mount.
func (r *repositories) find(ctx context.Context, image string) (imagePlace, *served, error) {
	var place imagePlace
	var err error
	if fqrn, p, ok := splitPath(image); ok {
		place, err = r.follow(ctx, fqrn, p)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("repository %s has no %s%s", fqrn, p, r.nearPath(ctx, fqrn, p))
		}
	} else if strings.HasPrefix(image, "/") || strings.HasPrefix(image, ".") {
		err = fmt.Errorf("%s lies in no repository; give an image's name, or a path below /cvmfs/FQRN", image)
	} else {
		resolved, e := r.resolveName(ctx, image)
		place.where, err = resolved, e
	}
	if err != nil {
		return place, nil, err
	}
	if place.where.Host {
		return place, nil, fmt.Errorf("%s is mounted by the site's own client, whose cache flatrun does not fill; set native: no", place.where.FQRN)
	}
	for _, v := range r.mounted() {
		if v.settings.FQRN == place.where.FQRN {
			return place, v, nil
		}
	}
	return place, nil, fmt.Errorf("repository %s is not open", place.where.FQRN)
}

// run finds the objects and fetches them at the same time.
func (p *prefetchRun) run(ctx context.Context, path string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan cas.Object, 1024)
	var workers sync.WaitGroup
	for range prefetchParallel {
		workers.Go(func() {
			for o := range queue {
				if ctx.Err() == nil {
					p.fetch(ctx, cancel, o)
				}
			}
		})
	}
	err := p.walk(ctx, path, queue)
	close(queue)
	if err != nil {
		cancel(err)
	}
	p.mu.Lock()
	p.report.Found = err == nil
	p.mu.Unlock()
	workers.Wait()
	switch report := p.state(); {
	case report.Failed > 0:
		return fmt.Errorf("%d of %d objects were not fetched, the first one: %w; run it again to go on", report.Failed, report.Objects, p.first)
	case ctx.Err() != nil && err == nil:
		return context.Cause(ctx)
	}
	return err
}

// fetch brings one object into the cache.
func (p *prefetchRun) fetch(ctx context.Context, cancel context.CancelCauseFunc, o cas.Object) {
	present := p.served.store.Has(o)
	if !present {
		if err := p.keep(ctx, o); err != nil {
			if ctx.Err() == nil {
				p.failed(err, cancel)
			}
			return
		}
	}
	p.mu.Lock()
	if present {
		p.report.Present++
	} else {
		p.report.Fetched++
	}
	p.report.DoneBytes += max(o.Size, 0)
	p.mu.Unlock()
	if p.cfg.Progress != nil {
		p.cfg.Progress(p.state())
	}
}

// keep brings the object, which must be there afterwards, in the cache or in a tier below it: for a container it would be served
// without a cache that is full, but it could not be read without the network.
func (p *prefetchRun) keep(ctx context.Context, o cas.Object) error {
	store := p.served.store
	kept := store.Stats().Uncached
	f, err := store.Open(ctx, o)
	if err != nil {
		return err
	}
	f.Close()
	if store.Stats().Uncached > kept && !store.Cache.Has(o) {
		return fmt.Errorf("the cache %s cannot keep %v; make room on its disk, or give --into DIR", store.Cache.Dir(), o)
	}
	return nil
}

func (p *prefetchRun) failed(err error, cancel context.CancelCauseFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first == nil {
		p.first = err
	}
	if p.report.Failed++; p.report.Failed >= prefetchFailures {
		cancel(err)
	}
}

func (p *prefetchRun) state() PrefetchReport {
	wire := p.served.store.Stats().Wire
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.Wire = wire
	return p.report
}

// walk queues the objects of everything at and below path, each once.
func (p *prefetchRun) walk(ctx context.Context, path string, queue chan<- cas.Object) error {
	view := catalogView{p.served.repo.Head()}
	at, err := view.lookup(ctx, path)
	if err != nil {
		return err
	}
	seen := make(map[cas.Hash]bool)
	if p.cfg.Profile {
		image, err := prefetch.Identify(ctx, view.Revision, path)
		if err != nil {
			return err
		}
		profile, err := profiles(p.cfg.Settings.Cache.Dir).Load(image)
		if errors.Is(err, fs.ErrNotExist) {
			return errors.New("no start of it is recorded on this node: one is, a minute after it or when the session ends; or fetch it with --all")
		} else if err != nil {
			return err
		}
		return p.add(ctx, profile.Objects, seen, queue)
	}
	for todo := []repo.Node{at}; len(todo) > 0; {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		switch {
		case n.Entry.IsRegular():
			err = p.addFile(ctx, view.Revision, n, seen, queue)
		case n.Entry.IsDir():
			// List holds a connection to the catalog: nothing that waits is done inside.
			err = view.List(ctx, n, func(child repo.Node) error {
				todo = append(todo, child)
				return ctx.Err()
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *prefetchRun) addFile(ctx context.Context, v *repo.Revision, n repo.Node, seen map[cas.Hash]bool, queue chan<- cas.Object) error {
	objects, err := v.Objects(n)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.report.Files++
	p.mu.Unlock()
	return p.add(ctx, objects, seen, queue)
}

func (p *prefetchRun) add(ctx context.Context, objects []cas.Object, seen map[cas.Hash]bool, queue chan<- cas.Object) error {
	for _, o := range objects {
		if seen[o.Hash] {
			continue
		}
		seen[o.Hash] = true
		p.mu.Lock()
		p.report.Objects, p.report.Bytes = p.report.Objects+1, p.report.Bytes+max(o.Size, 0)
		total := p.report.Bytes
		p.mu.Unlock()
		if p.limit > 0 && total > p.limit {
			return fmt.Errorf("%s has more than the %d bytes that the cache may hold; raise cache: {limit: …}, or give --into DIR", p.cfg.Image, p.limit)
		}
		select {
		case queue <- o:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
