package prefetch

import (
	"time"

	"github.com/flatrun/flatrun/mount/cas"
)

// RecordFor is how long a start is recorded at most.
const RecordFor = time.Minute

// Recording collects what is read below an image's root.
type Recording struct {
	p     *Prefetcher
	root  string
	until time.Time
	seen  map[key]bool // these three under the prefetcher's lock
	list  []cas.Object
	over  bool
}

// Record begins to note the objects of files below root, a path in the repository, in the order of their first use. Only
// objects that are not open are noticed, so record a start on a cold cache. It ends by itself after RecordFor.
func (p *Prefetcher) Record(root string) *Recording {
	r := &Recording{p: p, root: root, until: time.Now().Add(RecordFor), seen: make(map[key]bool)}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.records[r] = true
	return r
}

// Stop ends the recording.
func (r *Recording) Stop() *Profile {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	delete(r.p.records, r)
	r.over = true
	return &Profile{Objects: append([]cas.Object(nil), r.list...)}
}

// record notes an object of the file at name in all recordings that it concerns. External data is left out: its object is
// found by its path, which a profile must not tell.
func (p *Prefetcher) record(name string, o cas.Object) {
	if o.External != "" {
		return
	}
	now := time.Now()
	k := key{o.Hash, o.Compression}
	p.mu.Lock()
	defer p.mu.Unlock()
	for r := range p.records {
		if now.After(r.until) {
			delete(p.records, r)
			continue
		}
		if within(name, r.root) && !r.seen[k] && len(r.list) < MaxObjects {
			r.seen[k] = true
			r.list = append(r.list, o)
		}
	}
}

// Replay fetches a profile's objects.
func (p *Prefetcher) Replay(profile *Profile) { p.Fetch(profile.Objects...) }
