package fusefs

import (
	"container/list"
	"context"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
)

// objectKey names opened content. The hash is of the stored bytes, so the compression is part of the name: the same bytes
// can be one file's zlib stream and another file's content.
type objectKey struct {
	hash        cas.Hash
	compression cas.Compression
}

// object is an open descriptor of verified content.
type object struct {
	file *os.File
	key  objectKey
	refs int    // readers, and one while it is in the table
	used uint32 // number of the sweep after its last use
}

const shards = 16

// Budget bounds the descriptors that the file systems of a process together keep open without a reader: each has a limit, but
// the process has one, too, whatever the number of its mounts. A nil one bounds nothing.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget is half of what the process may open: catalogs, connections and the cache need descriptors too.
func NewBudget() *Budget { return &Budget{limit: int64(openPart(2, math.MaxInt32))} }

// take counts one more, and tells whether there are too many now.
func (b *Budget) take() (over bool) { return b != nil && b.used.Add(1) > b.limit }

func (b *Budget) give() {
	if b != nil {
		b.used.Add(-1)
	}
}

// objects keeps descriptors open after their last read: as there is no OPEN and no RELEASE, every READ would have to open
// its object again. But not for long: an object that the cache has given up keeps its place on the disk until then.
// Sharded, as all readers pass here.
type objects struct {
	store  cas.Store
	budget *Budget
	shards [shards]objectShard
	sweeps atomic.Uint32

	mu     sync.Mutex
	timer  *time.Timer // of the next sweep, nil for none
	closed bool
}

type objectShard struct {
	mu     sync.Mutex
	limit  int
	open   map[objectKey]*list.Element // of *object
	recent list.List                   // the latest used in front
}

// sweepAfter is how often unused descriptors are looked for: one is closed after one to two such times.
const sweepAfter = 30 * time.Second

// maxOpenObjects bounds the table where the limit on descriptors allows it.
const maxOpenObjects = 1024

// openLimit is a quarter of what the process may open, at most maxOpenObjects: catalogs, connections and the cache need
// descriptors too.
func openLimit() int { return openPart(4, maxOpenObjects) }

// openPart is one of so many parts of what the process may open, and at most most.
func openPart(parts, most uint64) int {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return shards
	}
	return int(max(min(r.Cur/parts, most), shards))
}

func newObjects(store cas.Store, limit int, budget *Budget) *objects {
	t := &objects{store: store, budget: budget}
	for i := range t.shards {
		t.shards[i].limit = max(limit/shards, 1)
		t.shards[i].open = make(map[objectKey]*list.Element)
	}
	return t
}

func (t *objects) shard(k objectKey) *objectShard {
	b := k.hash.Bytes()
	return &t.shards[b[0]%shards]
}

// get answers the object when it is open already. The caller puts it back.
func (t *objects) get(o cas.Object) *object {
	k := objectKey{o.Hash, o.Compression}
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.open[k]
	if e == nil {
		return nil
	}
	s.recent.MoveToFront(e)
	obj := e.Value.(*object)
	obj.refs++
	obj.used = t.sweeps.Load()
	return obj
}

// openObject opens the object through the store, which may take as long as ctx lasts. The caller puts it back.
func (t *objects) openObject(ctx context.Context, o cas.Object) (*object, error) {
	f, err := t.store.Open(ctx, o)
	if err != nil {
		return nil, unavailable(err)
	}
	k := objectKey{o.Hash, o.Compression}
	s := t.shard(k)
	s.mu.Lock()
	if e := s.open[k]; e != nil { // another reader was faster
		obj := e.Value.(*object)
		obj.refs++
		s.mu.Unlock()
		f.Close()
		return obj, nil
	}
	obj := &object{file: f, key: k, refs: 2, used: t.sweeps.Load()}
	s.open[k] = s.recent.PushFront(obj)
	var victim *object
	if t.budget.take() || s.recent.Len() > s.limit {
		victim = t.evict(s)
	}
	s.mu.Unlock()
	if victim != nil {
		victim.file.Close()
	}
	t.sweepLater()
	return obj, nil
}

// sweepLater sees to it that there will be a sweep.
func (t *objects) sweepLater() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer == nil && !t.closed {
		t.timer = time.AfterFunc(sweepAfter, t.sweep)
	}
}

// sweep closes what was not used since the sweep before.
func (t *objects) sweep() {
	t.mu.Lock()
	t.timer = nil // an object that is opened from now on causes the next one itself
	t.mu.Unlock()
	last := t.sweeps.Add(1) - 1
	left := 0
	for i := range t.shards {
		s := &t.shards[i]
		var victims []*object
		s.mu.Lock()
		for s.recent.Len() > 0 && s.recent.Back().Value.(*object).used != last {
			if obj := t.evict(s); obj != nil {
				victims = append(victims, obj)
			}
		}
		left += s.recent.Len()
		s.mu.Unlock()
		for _, obj := range victims {
			obj.file.Close()
		}
	}
	if left > 0 {
		t.sweepLater()
	}
}

// evict takes the least recently used object of a shard out and answers it if nobody reads it.
func (t *objects) evict(s *objectShard) *object {
	t.budget.give()
	e := s.recent.Back()
	obj := s.recent.Remove(e).(*object)
	delete(s.open, obj.key)
	if obj.refs--; obj.refs > 0 {
		return nil // the last reader closes it
	}
	return obj
}

// put ends a use of the object.
func (t *objects) put(obj *object) {
	s := t.shard(obj.key)
	s.mu.Lock()
	obj.refs--
	last := obj.refs == 0
	s.mu.Unlock()
	if last {
		obj.file.Close()
	}
}

// close lets go of every object that nobody reads at the moment; the others follow with their readers.
func (t *objects) close() {
	t.mu.Lock()
	t.closed = true
	if t.timer != nil {
		t.timer.Stop()
	}
	t.mu.Unlock()
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for s.recent.Len() > 0 {
			if obj := t.evict(s); obj != nil {
				obj.file.Close()
			}
		}
		s.mu.Unlock()
	}
}
