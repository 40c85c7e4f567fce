package fusefs

import (
	"slices"
	"sync"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
)

// Slow is an object that a reader waited for.
type Slow struct {
	Object cas.Hash
	Path   string // of the file within the repository, as far as known
	Size   int64
	Took   time.Duration
	Time   time.Time // when it had come
}

const (
	maxSlowest = 16
	notSlow    = 10 * time.Millisecond // what is faster is nobody's concern, and costs no look-up of its path
)

// slowest keeps the objects that took the longest.
type slowest struct {
	mu  sync.Mutex
	all []Slow // the slowest first
}

// add notes an object. Its path is looked up only when it is among the slowest.
func (s *slowest) add(o cas.Object, path func() string, took time.Duration) {
	if took < notSlow {
		return
	}
	s.mu.Lock()
	full := len(s.all) == maxSlowest && s.all[maxSlowest-1].Took >= took
	s.mu.Unlock()
	if full {
		return
	}
	slow := Slow{Object: o.Hash, Path: path(), Size: o.Size, Took: took, Time: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	at, _ := slices.BinarySearchFunc(s.all, took, func(a Slow, took time.Duration) int { return int(took - a.Took) })
	s.all = slices.Insert(s.all, at, slow)
	s.all = s.all[:min(len(s.all), maxSlowest)]
}

// Slowest lists the objects that readers waited for the longest, the slowest first.
func (fs *FS) Slowest() []Slow {
	fs.slowest.mu.Lock()
	defer fs.slowest.mu.Unlock()
	return slices.Clone(fs.slowest.all)
}
