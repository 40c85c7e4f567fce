package pack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/prefetch"
	"github.com/flatrun/flatrun/mount/repo"
)

// Config says where packs come from and what they fill.
type Config struct {
	Dir   string    // of the cache of what came out of packs of this repository, and of no other
	Limit int64     // bytes of that cache, 0 for none
	Fetch cas.Store // of the files of packs
	// Read fetches what need not be kept: the parts, whose objects are. nil: by Fetch.
	Read  func(context.Context, cas.Object) ([]byte, error)
	Has   func(cas.Object) bool
	Below cas.Store     // asked for what no pack brings; may be nil
	Wait  time.Duration // for which a read waits for a pack at most; 0 is 20 s
	Log   *slog.Logger  // nil discards
}

// Store is a cas.Store of what packs have brought. An object that one is about to bring is waited for.
type Store struct {
	cfg    Config
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	takes  sync.WaitGroup

	mu     sync.Mutex
	cache  *cas.Cache // nil while no pack was taken
	coming map[*coming]bool
	held   map[key]*os.File // objects that have come and are not in the cache yet
}

// coming is a pack on its way.
type coming struct {
	listed  chan struct{} // closed when objects is set
	over    chan struct{} // closed when no more will come
	objects map[key]chan struct{}
}

type key struct {
	hash        cas.Hash
	compression cas.Compression
}

func keyOf(o cas.Object) key { return key{o.Hash, o.Compression} }

// NewStore opens what earlier packs have left.
func NewStore(cfg Config) *Store {
	s := &Store{cfg: cfg, log: cfg.Log, coming: make(map[*coming]bool), held: make(map[key]*os.File)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.cfg.Wait <= 0 {
		s.cfg.Wait = 20 * time.Second
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if _, err := os.Stat(cfg.Dir); err == nil {
		s.open()
	}
	return s
}

// open answers the cache, which is made for the first pack.
func (s *Store) open() *cas.Cache {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cache == nil {
		c, err := cas.OpenCache(cas.CacheConfig{Dir: s.cfg.Dir, Limit: s.cfg.Limit, Log: s.log})
		if err != nil {
			s.log.Warn("packs are not used", "error", err)
			return nil
		}
		s.cache = c
	}
	return s.cache
}

// Close ends what is on its way.
func (s *Store) Close() {
	s.cancel()
	s.takes.Wait()
}

// Has tells whether a pack has brought the object.
func (s *Store) Has(o cas.Object) bool {
	s.mu.Lock()
	c, held := s.cache, s.held[keyOf(o)]
	s.mu.Unlock()
	return held != nil || c != nil && c.Has(o)
}

// Open answers an object that a pack has brought, or is bringing.
func (s *Store) Open(ctx context.Context, o cas.Object) (*os.File, error) {
	if f := s.here(o); f != nil {
		return f, nil
	}
	if s.wait(ctx, o) {
		if f := s.here(o); f != nil {
			return f, nil
		}
	}
	if s.cfg.Below != nil {
		return s.cfg.Below.Open(ctx, o)
	}
	return nil, fmt.Errorf("packs: object %v: %w", o, fs.ErrNotExist)
}

func (s *Store) here(o cas.Object) *os.File {
	s.mu.Lock()
	c := s.cache
	if held := s.held[keyOf(o)]; held != nil {
		defer s.mu.Unlock() // as it is closed when it is in the cache
		f, _ := cas.Reopen(held)
		return f
	}
	s.mu.Unlock()
	if c == nil || !c.Has(o) {
		return nil
	}
	f, err := c.Open(o.Hash)
	if err != nil {
		return nil
	}
	return f
}

// wait returns when the object has come, true, or is not to be waited for.
func (s *Store) wait(ctx context.Context, o cas.Object) bool {
	s.mu.Lock()
	var all []*coming
	for c := range s.coming {
		all = append(all, c)
	}
	s.mu.Unlock()
	if len(all) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Wait)
	defer cancel()
	for _, c := range all {
		select {
		case <-c.listed:
		case <-ctx.Done():
			return false
		}
		arrived := c.objects[keyOf(o)]
		if arrived == nil {
			continue
		}
		select {
		case <-arrived:
			return true
		case <-c.over:
			return true // perhaps
		case <-ctx.Done():
			return false
		}
	}
	return false
}

// Take fetches the pack of the image at that path, if the repository has one, and returns at once: true where it has. What
// is wrong with a pack leaves its objects to the servers, and calls failed. A pack of which most is here is not fetched.
func (s *Store) Take(ctx context.Context, rev *repo.Revision, image string, failed func()) bool {
	parts, err := find(ctx, rev, Dir(image))
	if err != nil || len(parts) < 2 {
		return false
	}
	c := &coming{listed: make(chan struct{}), over: make(chan struct{})}
	s.mu.Lock()
	s.coming[c] = true
	s.mu.Unlock()
	s.takes.Go(func() {
		err := s.take(c, parts)
		s.mu.Lock()
		delete(s.coming, c)
		s.mu.Unlock()
		close(c.over)
		if err != nil && s.ctx.Err() == nil {
			s.log.Warn("pack is not used", "image", image, "error", err)
			failed()
		}
	})
	return true
}

// find answers the objects of the profile and of each part.
func find(ctx context.Context, rev *repo.Revision, dir string) (files [][]cas.Object, err error) {
	for i := -1; i < MaxParts; i++ {
		name := ProfileName
		if i >= 0 {
			name = PartName(i)
		}
		n, err := rev.Lookup(ctx, dir+"/"+name)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, err
		}
		objects, err := rev.Objects(n)
		if err != nil || n.Entry.Size > MaxPart {
			return nil, fmt.Errorf("%s/%s: %d bytes: %w", dir, name, n.Entry.Size, errors.Join(ErrFormat, err))
		}
		files = append(files, objects)
	}
	return files, nil
}

// take brings the profile, and the parts while it comes.
func (s *Store) take(c *coming, files [][]cas.Object) error {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	// Where the profile is here, most of the rest may be as well.
	known := !slices.ContainsFunc(files[0], func(o cas.Object) bool { return !s.cfg.Has(o) })
	var pieces <-chan chan piece
	if !known {
		pieces = s.fetch(ctx, files[1:])
	}
	list, err := s.list(ctx, files[0])
	if err != nil {
		close(c.listed)
		return err
	}
	c.expect(list)
	if known {
		if s.most(list) {
			return nil
		}
		pieces = s.fetch(ctx, files[1:])
	}
	cache := s.open()
	if cache == nil {
		return errors.New("its objects cannot be kept")
	}
	defer cache.Enforce(s.ctx)
	for i, objects := range files[1:] {
		brought, err := s.unpack(c, &part{ctx: ctx, pieces: pieces, left: len(objects)})
		if i+2 == len(files) && err == nil {
			s.rest()
		}
		if err := errors.Join(err, s.settle(cache, brought)); err != nil {
			return err
		}
	}
	return nil
}

// expect makes reads wait for the objects of the list.
func (c *coming) expect(list *prefetch.Profile) {
	c.objects = make(map[key]chan struct{}, len(list.Objects))
	for _, o := range list.Objects {
		c.objects[keyOf(o)] = make(chan struct{})
	}
	close(c.listed)
}

func (s *Store) list(ctx context.Context, objects []cas.Object) (*prefetch.Profile, error) {
	var text []byte
	for _, o := range objects {
		b, err := s.readKept(ctx, o)
		if err != nil {
			return nil, err
		}
		text = append(text, b...)
	}
	return prefetch.ParseProfile(text)
}

// most tells whether more than half of the bytes are here.
func (s *Store) most(list *prefetch.Profile) bool {
	var here, all int64
	for _, o := range list.Objects {
		all += max(o.Size, 0)
		if s.Has(o) || s.cfg.Has(o) {
			here += max(o.Size, 0)
		}
	}
	return here > all/2
}

// unpack takes one part apart and holds in memory what it brings: to make hundreds of files takes a disk a good part of the
// time that a start has. Only objects that the profile lists are kept.
func (s *Store) unpack(c *coming, from *part) (brought []cas.Object, err error) {
	err = Read(from, func(o cas.Object, content []byte) error {
		arrived := c.objects[keyOf(o)]
		if arrived == nil {
			return nil
		}
		var f *os.File
		if !s.Has(o) {
			var err error
			if f, err = cas.InMemory(content); err != nil {
				return fmt.Errorf("object %v: %w", o, err)
			}
			brought = append(brought, o)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if f != nil {
			s.held[keyOf(o)] = f
		}
		select {
		case <-arrived: // listed once, packed twice
		default:
			close(arrived)
		}
		return nil
	})
	if from.err != nil {
		err = from.err // not the format's fault
	}
	return brought, err
}

// settleAfter is how long the last part stays in memory: the command is about to use what it brought, and has the processors.
const settleAfter = time.Second

// rest waits that long, unless the session ends.
func (s *Store) rest() {
	timer := time.NewTimer(settleAfter)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
	}
}

// settle gives the cache what a part has brought.
func (s *Store) settle(cache *cas.Cache, brought []cas.Object) (err error) {
	for _, o := range brought {
		s.mu.Lock()
		f := s.held[keyOf(o)]
		s.mu.Unlock()
		if err == nil {
			err = put(cache, o, f)
		}
		s.mu.Lock()
		delete(s.held, keyOf(o))
		f.Close()
		s.mu.Unlock()
	}
	return err
}

func put(cache *cas.Cache, o cas.Object, f *os.File) error {
	content := make([]byte, o.Size)
	if _, err := f.ReadAt(content, 0); err != nil && o.Size > 0 {
		return fmt.Errorf("object %v: %w", o, err)
	}
	return cache.Put(o, content)
}
