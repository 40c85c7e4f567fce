package publish

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
)

// Weights bound the number of entries in a catalog: where a directory with all
// below it would exceed Max, its heaviest subdirectories of at least Min
// entries get catalogs of their own.
type Weights struct{ Min, Max int }

// defaultWeights are those of the official server's automatic catalogs.
var defaultWeights = Weights{Min: 1000, Max: 100000}

// plan is what the first walk finds out for the second: directories by the
// order in which they begin. It is small, for it is kept in memory.
type plan struct {
	dirs   []dirPlan
	groups map[groupKey]uint32 // members of each hard-link group
	items  int64
}

type dirPlan struct {
	subdirs uint32
	nest    nesting
	hasAuto bool // a file of the automatic marker's name
}

type nesting uint8

const (
	plain  nesting = iota
	marked         // holds a marker
	auto           // chosen by weight
)

// groupKey names a hard-link group: the number means nothing outside its
// directory.
type groupKey struct {
	dir   int // index in plan.dirs
	group uint32
}

// planner is the first walk's sink.
type planner struct {
	weights Weights
	plan    plan
	open    []*planDir
}

// planDir is a directory that the walk is in.
type planDir struct {
	index      int
	weight     int
	candidates []candidate
	first      map[uint32]linkedFile // of each hard-link group
}

type candidate struct{ index, weight int }

// linkedFile is what the members of a hard-link group have in common.
type linkedFile struct {
	hash           cas.Hash
	size, mtime    int64
	mode, uid, gid uint32
}

func newPlanner(w Weights) *planner {
	if w == (Weights{}) {
		w = defaultWeights
	}
	return &planner{weights: w, plan: plan{groups: map[groupKey]uint32{}}}
}

func (p *planner) parent() *planDir { return p.open[len(p.open)-1] }

func (p *planner) dir(it *Item, _ *baseCatalog) error {
	p.plan.items++
	if len(p.open) > 0 {
		p.plan.dirs[p.parent().index].subdirs++
	}
	p.open = append(p.open, &planDir{index: len(p.plan.dirs), weight: 1})
	p.plan.dirs = append(p.plan.dirs, dirPlan{})
	return nil
}

func (p *planner) nested(it *Item, _ catalog.Nested, _ *baseCatalog) error {
	p.plan.items++
	p.plan.dirs[p.parent().index].subdirs++
	p.parent().weight++
	return nil
}

func (p *planner) file(it *Item) error {
	d := p.parent()
	p.plan.items++
	d.weight++
	switch it.Entry.Name {
	case marker:
		p.plan.dirs[d.index].nest = marked
	case autoMarker:
		p.plan.dirs[d.index].hasAuto = true
	}
	if it.Entry.LinkGroup != 0 {
		return p.link(it, d)
	}
	return nil
}

// link counts a member of a hard-link group. Members that differ would show
// the attributes of whichever the client saw first.
func (p *planner) link(it *Item, d *planDir) error {
	e := &it.Entry
	f := linkedFile{hash: e.Hash, size: e.Size, mtime: e.Mtime, mode: e.Mode, uid: e.UID, gid: e.GID}
	if len(it.Chunks) > 0 {
		f.hash = it.Chunks[0].Hash
	}
	first, ok := d.first[e.LinkGroup]
	if ok && first != f {
		return fmt.Errorf("%s: differs from the other files of its hard-link group", it.Path)
	}
	if d.first == nil {
		d.first = map[uint32]linkedFile{}
	}
	d.first[e.LinkGroup] = f
	p.plan.groups[groupKey{d.index, e.LinkGroup}]++
	return nil
}

func (p *planner) leave() error {
	d := p.parent()
	p.open = p.open[:len(p.open)-1]
	nest := &p.plan.dirs[d.index].nest
	if len(p.open) == 0 {
		*nest = plain // the root is a catalog anyway
	}
	p.split(d)
	if len(p.open) == 0 {
		return nil
	}
	up := p.parent()
	if *nest == marked {
		up.weight++
		return nil
	}
	up.weight += d.weight
	if d.weight >= p.weights.Min {
		up.candidates = append(up.candidates, candidate{d.index, d.weight})
	}
	return nil
}

// split makes nested catalogs of subdirectories, heaviest first, until the
// directory fits into one.
func (p *planner) split(d *planDir) {
	slices.SortFunc(d.candidates, func(a, b candidate) int { return cmp.Compare(b.weight, a.weight) })
	for d.weight > p.weights.Max && len(d.candidates) > 0 {
		c := d.candidates[0]
		d.candidates = d.candidates[1:]
		p.plan.dirs[c.index].nest = auto
		d.weight -= c.weight - 1
	}
}
