// Package prefetch fetches objects before they are asked for: guesses from what is read, and start-up profiles.
//
// A program that starts on a node with an empty cache reads hundreds of small files, each of which waits for the network in
// turn. Three things shorten that, each with an off switch: chunks are read ahead, a program's libraries are fetched as soon
// as its first bytes are there, and so are the other modules of a package that is being imported. Where a start of the same
// image was recorded before, all its objects are fetched at once in the recorded order.
//
// Nothing here decides what a program sees. Objects come through the same verifying Store as demand reads, a guess that
// fails is dropped, and demand reads go first: while one waits, only a few fetches of ours are under way.
package prefetch

import (
	"context"
	"log/slog"
	"os"
	"sync"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/repo"
)

// Config says where from and how much. Revision and Store must be set.
type Config struct {
	Store    cas.Store
	Revision func() *repo.Revision // the one that is shown now, for paths
	Has      func(cas.Object) bool // tells that fetching would be no use; nil for never

	Profiles Profiles // where start-up profiles are kept; "" for nowhere

	Parallel int // fetches at the same time, 0 for 48

	NoReadAhead bool // of chunks
	NoLibraries bool // of programs
	NoSiblings  bool // of imported modules

	Log *slog.Logger // nil discards
}

// defaultParallel leaves a quarter of the connections to demand reads.
const defaultParallel = 48

// Fetches that run side by side share the line, and the first of many would come last: a library of megabytes, which one
// connection brings, after hundreds of small files that are needed later. So only some bytes are under way at once, uncompressed:
// what keeps 300 Mbit/s busy over 100 ms. A few fetches are, whatever their size.
const (
	maxUnderWay = 12 << 20
	fewUnderWay = 4
)

// yieldTo is the share of the fetches that stay under way while a demand read waits.
const yieldTo = 4

// maxQueue bounds what waits to be fetched: a start needs some hundreds of objects.
const maxQueue = 1 << 14

// Prefetcher fetches ahead. Make it with New, end it with Close.
type Prefetcher struct {
	cfg    Config
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc

	events chan event // reads, for the guesses

	mu      sync.Mutex
	queue   []job
	later   []cas.Object // fetched when there is nothing else to do
	seen    map[key]bool // objects queued or fetched before
	running int          // fetches
	flying  int64        // what they bring, those of later apart
	idling  int          // those of them that are of later
	demand  int          // reads that wait
	fetched Stats
	records map[*Recording]bool
	started map[string]bool // roots of images
	known   []string        // roots of those whose profile was replayed: nothing is guessed there
	pythons map[string]bool // interpreters whose modules were fetched
	idle    *sync.Cond      // signalled when running falls to 0

	guesses guesses
	keeping sync.WaitGroup // recordings that will be written
	done    chan struct{}
}

// Stats counts what was done.
type Stats struct {
	Fetched, Failed, Dropped int64 // objects
	Bytes                    int64 // of the fetched ones, uncompressed
}

type key struct {
	hash        cas.Hash
	compression cas.Compression
}

// job is an object to fetch and what to do with it then.
type job struct {
	object cas.Object
	then   func(*os.File)
	idle   bool // of later
}

// weight is the bytes that it brings, as far as they are known.
func (j job) weight() int64 { return max(j.object.Size, 0) }

// New starts a prefetcher; it does nothing until it is told of reads or of a profile.
func New(cfg Config) *Prefetcher {
	if cfg.Parallel <= 0 {
		cfg.Parallel = defaultParallel
	}
	p := &Prefetcher{cfg: cfg, log: cfg.Log, events: make(chan event, 256), seen: make(map[key]bool),
		records: make(map[*Recording]bool), started: make(map[string]bool), pythons: make(map[string]bool), done: make(chan struct{})}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.idle = sync.NewCond(&p.mu)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	go p.guess()
	return p
}

// Close ends all fetches that nobody else waits for, and writes what was recorded.
func (p *Prefetcher) Close() {
	p.cancel()
	<-p.done
	p.keeping.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue, p.later = nil, nil
	for p.running > 0 {
		p.idle.Wait()
	}
}

// Stats tells what was done so far.
func (p *Prefetcher) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetched
}

// idleParallel is how many fetches of what may never be read are under way.
const idleParallel = 8

// fetchLater queues objects for when nothing is waited for and nothing better is to be fetched.
func (p *Prefetcher) fetchLater(objects ...cas.Object) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.later)+len(objects) <= maxQueue && p.ctx.Err() == nil {
		p.later = append(p.later, objects...)
		p.start()
	}
}

// Fetch queues objects, in this order, and returns at once. What was queued before, or is there, is passed over.
func (p *Prefetcher) Fetch(objects ...cas.Object) {
	for _, o := range objects {
		p.add(job{object: o})
	}
}

func (p *Prefetcher) add(j job) {
	k := key{j.object.Hash, j.object.Compression}
	p.mu.Lock()
	defer p.mu.Unlock()
	if j.object.Hash.IsZero() || p.ctx.Err() != nil || p.seen[k] && j.then == nil {
		return
	}
	if len(p.queue) >= maxQueue {
		p.fetched.Dropped++
		return
	}
	if len(p.seen) >= 4*maxQueue {
		clear(p.seen) // at worst something is looked for again in the cache
	}
	p.seen[k] = true
	p.queue = append(p.queue, j)
	p.start()
}

// start begins as many of the queued fetches as may run now. The lock is held.
func (p *Prefetcher) start() {
	limit := p.cfg.Parallel
	if p.demand > 0 {
		limit = max(limit/yieldTo, 1)
	}
	for len(p.queue) > 0 && p.running < limit {
		j := p.queue[0]
		if p.flying > 0 && p.running >= fewUnderWay && p.flying+j.weight() > maxUnderWay {
			break
		}
		p.queue = p.queue[1:]
		p.running++
		p.flying += j.weight()
		go p.run(j)
	}
	for len(p.later) > 0 && p.demand == 0 && p.running == p.idling && p.running < min(idleParallel, limit) {
		o := p.later[0]
		p.later = p.later[1:]
		if k := (key{o.Hash, o.Compression}); !p.seen[k] {
			p.seen[k] = true
			p.running++
			p.idling++
			go p.run(job{object: o, idle: true})
		}
	}
}

func (p *Prefetcher) run(j job) {
	n, err := p.fetch(j)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil:
		p.fetched.Failed++
		// It may be there the next time it is thought of.
		delete(p.seen, key{j.object.Hash, j.object.Compression})
	case n >= 0:
		p.fetched.Fetched++
		p.fetched.Bytes += n
	}
	p.running--
	if j.idle {
		p.idling--
	} else {
		p.flying -= j.weight()
	}
	p.start()
	if p.running == 0 {
		p.idle.Broadcast()
	}
}

// fetch brings one object; -1 where there was nothing to do.
func (p *Prefetcher) fetch(j job) (int64, error) {
	if j.then == nil && p.cfg.Has != nil && p.cfg.Has(j.object) {
		return -1, nil
	}
	f, err := p.cfg.Store.Open(p.ctx, j.object)
	if err != nil {
		if p.ctx.Err() == nil {
			p.log.Debug("not fetched ahead", "object", j.object, "reason", err)
		}
		return 0, err
	}
	defer f.Close()
	if j.then != nil {
		j.then(f)
	}
	return max(j.object.Size, 0), nil
}

// Reading is told of a demand read of an object that was not open: object index of those that hold the file at path (a path
// within the repository; path is called elsewhere and later). The returned function is to be called when the read has its
// bytes.
func (p *Prefetcher) Reading(path func() string, objects []cas.Object, index int) (done func()) {
	k := key{objects[index].Hash, objects[index].Compression}
	p.mu.Lock()
	expected := p.seen[k]
	if !expected {
		p.demand++
	}
	p.seen[k] = true
	p.mu.Unlock()
	select {
	case p.events <- event{path, objects, index}:
	default: // guesses that come too late are worth nothing
	}
	if expected { // what goes on now is what is wanted
		return func() {}
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.demand--
		p.start()
	}
}
