package cas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Remote is a Store that fetches what the cache does not hold. Each object is fetched once, however many ask for it at the
// same time. Its exported fields are set before the first call.
type Remote struct {
	Cache    *Cache     // nil: nothing is kept on disk
	Main     Fetcher    // the repository's servers
	External Fetcher    // the servers of external data; nil where there is none
	Lower    Store      // read-only tier that is asked before the network; may be nil
	Archives []*Archive // from which objects are copied into the cache, before the network is asked
	Log      *slog.Logger

	mu       sync.Mutex
	flights  map[flightKey]*flight
	running  sync.WaitGroup // flights, with the cleaning that may follow them
	loose    loose
	counters struct{ objects, bytes, wire, hits, lower, uncached, errors atomic.Int64 }
}

// RemoteStats counts what a Remote did since it was made.
type RemoteStats struct {
	Hits      int64 // opened from the cache
	LowerHits int64 // opened from the lower tier, or copied from an archive
	Objects   int64 // fetched
	Bytes     int64 // of fetched objects, uncompressed
	Wire      int64 // stored bytes that came, those of failed transfers included
	Uncached  int64 // fetched and served, but the cache could not take them
	Errors    int64 // fetches that failed
	InFlight  int64 // fetches running now
}

// flightKey tells fetches apart: stored bytes of one hash are two objects when they are read as zlib and as plain.
type flightKey struct {
	hash        Hash
	compression Compression
}

// flight is one fetch with those who wait for it.
type flight struct {
	cancel  context.CancelFunc
	done    chan struct{} // closed when file and err are set
	file    *os.File
	err     error
	waiters int // guarded by Remote.mu
}

// Open returns the object from the cache, from the lower tier, or from the network. When ctx ends the caller leaves at once;
// the fetch goes on for others who wait for it, and stops when the last has left.
func (s *Remote) Open(ctx context.Context, o Object) (*os.File, error) {
	if o.Hash.IsZero() {
		return nil, fmt.Errorf("open object: it has no hash: %w", fs.ErrInvalid)
	}
	if f := s.local(ctx, o); f != nil {
		return f, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open %v: %w", o, err)
	}
	key, fl := s.join(ctx, o)
	defer s.leave(key, fl)
	select {
	case <-fl.done:
	case <-ctx.Done():
		select {
		case <-fl.done: // both at once: the object is there
		default:
			return nil, fmt.Errorf("open %v: %w", o, context.Cause(ctx))
		}
	}
	if fl.err != nil {
		return nil, fl.err
	}
	return Reopen(fl.file)
}

// local opens what is on this node or in the lower tier; nil if it is in neither.
func (s *Remote) local(ctx context.Context, o Object) *os.File {
	if s.Cache != nil {
		if f, err := s.Cache.open(o); err == nil {
			s.counters.hits.Add(1)
			return f
		}
	}
	if f := s.loose.open(flightKey{o.Hash, o.Compression}); f != nil {
		s.counters.hits.Add(1)
		return f
	}
	if s.Lower != nil {
		f, err := s.Lower.Open(ctx, o)
		if err == nil {
			s.counters.lower.Add(1)
			return f
		}
		if !errors.Is(err, fs.ErrNotExist) && s.Log != nil {
			s.Log.Warn("lower cache failed; going to the network", "object", o.String(), "err", err)
		}
	}
	return nil
}

// join enters the flight for o, or starts it.
func (s *Remote) join(ctx context.Context, o Object) (flightKey, *flight) {
	key := flightKey{o.Hash, o.Compression}
	s.mu.Lock()
	defer s.mu.Unlock()
	if fl := s.flights[key]; fl != nil {
		fl.waiters++
		return key, fl
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	fl := &flight{cancel: cancel, done: make(chan struct{}), waiters: 1}
	if s.flights == nil {
		s.flights = make(map[flightKey]*flight)
	}
	s.flights[key] = fl
	s.running.Go(func() { s.fly(ctx, key, fl, o) })
	return key, fl
}

// leave is called by each who joined. The last one out ends the fetch, or closes its result.
func (s *Remote) leave(key flightKey, fl *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fl.waiters--
	if fl.waiters > 0 {
		return
	}
	fl.cancel()
	if s.flights[key] == fl { // still fetching: those who come later start anew
		delete(s.flights, key)
		return
	}
	if fl.file != nil {
		fl.file.Close()
	}
}

// fly runs a flight and then keeps the cache within its limit, while the waiters already have what they want.
func (s *Remote) fly(ctx context.Context, key flightKey, fl *flight, o Object) {
	f, full, err := s.fetch(ctx, key, o)
	s.mu.Lock()
	fl.file, fl.err = f, err
	if s.flights[key] == fl {
		delete(s.flights, key)
	} else if f != nil { // all have left
		f.Close()
	}
	s.mu.Unlock()
	close(fl.done)
	ctx = context.WithoutCancel(ctx)
	switch {
	case s.Cache == nil || err != nil:
	case full:
		s.Cache.relieve(ctx)
	default:
		s.Cache.enforce(ctx)
	}
}

// fetch brings the object here, verified; full says that the cache's disk had no room for it.
func (s *Remote) fetch(ctx context.Context, key flightKey, o Object) (f *os.File, full bool, err error) {
	if s.Cache != nil { // it may have arrived between the look and the flight
		if f, err := s.Cache.open(o); err == nil {
			return f, false, nil
		}
	}
	d, err := newDraft(s.Cache, o)
	if err != nil {
		return nil, true, fmt.Errorf("open %v: no room for it: %w", o, err)
	}
	f, cached, err := s.fill(ctx, d)
	if errors.Is(err, errLost) {
		var again *draft
		if again, err = newDraft(nil, o); err == nil {
			f, cached, err = s.fill(ctx, again)
		}
	}
	if err != nil {
		if ctx.Err() == nil {
			s.counters.errors.Add(1)
		}
		return nil, false, err
	}
	if !cached {
		s.counters.uncached.Add(1)
		s.loose.add(key, f, d.n)
	}
	return f, errors.Is(d.reason, unix.ENOSPC) || errors.Is(d.reason, unix.EDQUOT), nil
}

// fill brings an object into a draft and commits it.
func (s *Remote) fill(ctx context.Context, d *draft) (f *os.File, cached bool, err error) {
	if found, err := s.unpack(d); found {
		s.counters.lower.Add(1)
		return d.commit()
	} else if err != nil {
		d.discard()
		return nil, false, err
	}
	from := s.Main
	if d.o.External != "" {
		from = s.External
	}
	wire, err := transfer(ctx, from, d.o, d)
	s.counters.wire.Add(wire)
	if err != nil {
		d.discard()
		return nil, false, err
	}
	s.counters.objects.Add(1)
	s.counters.bytes.Add(d.n)
	return d.commit()
}

// Read answers the bytes of an object without keeping them: what is needed once is not worth a place in the cache.
func (s *Remote) Read(ctx context.Context, o Object) ([]byte, error) {
	f := s.local(ctx, o)
	if f == nil {
		d, err := newDraft(nil, o)
		if err == nil {
			f, _, err = s.fill(ctx, d)
		}
		if err != nil {
			return nil, fmt.Errorf("read %v: %w", o, err)
		}
	}
	defer f.Close()
	return io.ReadAll(f)
}

// unpack copies an object out of an archive, if one has it whole. What is damaged there comes from the network.
func (s *Remote) unpack(d *draft) (found bool, err error) {
	for _, a := range s.Archives {
		err := a.copy(d.o, d)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && s.Log != nil {
			s.Log.Warn("archive failed; going on without it", "object", d.o.String(), "err", err)
		}
		if err := d.Reset(); err != nil {
			return false, fmt.Errorf("open %v: %w", d.o, err)
		}
	}
	return false, nil
}

// Has reports whether the object can be opened without the network, not looking at the lower tier.
func (s *Remote) Has(o Object) bool {
	return s.Cache != nil && s.Cache.has(o) || s.loose.has(flightKey{o.Hash, o.Compression})
}

// Stats returns the counters.
func (s *Remote) Stats() RemoteStats {
	s.mu.Lock()
	inFlight := int64(len(s.flights))
	s.mu.Unlock()
	c := &s.counters
	return RemoteStats{
		Hits: c.hits.Load(), LowerHits: c.lower.Load(),
		Objects: c.objects.Load(), Bytes: c.bytes.Load(), Wire: c.wire.Load(),
		Uncached: c.uncached.Load(), Errors: c.errors.Load(), InFlight: inFlight,
	}
}

// Close ends fetches that still run, waits until nothing more is changed in the cache, and releases the objects that only
// this Remote holds. Files that were opened stay open.
func (s *Remote) Close() {
	s.mu.Lock()
	for _, fl := range s.flights {
		fl.cancel()
	}
	s.mu.Unlock()
	s.running.Wait()
	s.loose.close()
}
