package convert

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/flatrun/flatrun/unpacked/publish"
)

// newFollower takes the layers of an image, the lowest first.
func newFollower(layers []iter.Seq2[publish.Item, error]) *follower {
	return &follower{layers: slices.Clone(layers), moving: map[int]*movingLayer{}, next: sharedGroups}
}

// all writes the merge of the layers by way of replace, again for each link of a lower layer that is followed on the way.
// replace must hand on the error of its items.
func (f *follower) all(replace func(iter.Seq2[publish.Item, error]) error) error {
	return f.merge(len(f.layers), func(items iter.Seq2[layerItem, error]) error {
		return replace(func(yield func(publish.Item, error) bool) {
			for i, err := range items {
				if !yield(i.Item, err) {
					return
				}
			}
		})
	})
}

// follower merges layers whose items may be other layers'.
type follower struct {
	layers []iter.Seq2[publish.Item, error] // as far as links were followed
	moving map[int]*movingLayer             // those of them that have moved parts
	next   uint32                           // the next number of a hard-link group of several layers

	differs bool // the kernel may show something else where it stacks the layers
}

// merge merges the lowest n layers.
func (f *follower) merge(n int, replace func(iter.Seq2[layerItem, error]) error) error {
	for redirects := 0; redirects <= maxLinks; {
		through, hard, err := f.once(n, replace)
		f.differs = f.differs || through != nil || hard != nil
		switch {
		case through != nil:
			redirects++
			err = f.redirect(through)
		case hard != nil:
			err = f.resolve(hard.layer)
		default:
			return err
		}
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("a path of a layer leads through more than %d symbolic links", maxLinks)
}

// once merges as far as there is no link to follow.
func (f *follower) once(n int, replace func(iter.Seq2[layerItem, error]) error) (through *redirect, hard *lowerLink, err error) {
	err = replace(func(yield func(layerItem, error) bool) {
		var m merger
		defer func() { f.differs = f.differs || m.differs }()
		for i, err := range m.merge(f.layers[:n]) {
			errors.As(err, &through)
			errors.As(err, &hard)
			if !yield(i, err) {
				return
			}
		}
	})
	return through, hard, err
}

// redirect moves what a layer has beyond a symbolic link to where that leads.
func (f *follower) redirect(r *redirect) error {
	l := f.moving[r.layer]
	if l == nil {
		l = &movingLayer{items: f.layers[r.layer]}
		f.moving[r.layer] = l
	}
	if err := l.move(r.from, r.to); err != nil {
		return err
	}
	f.set(r.layer, l.all)
	f.moving[r.layer] = l
	return nil
}

// set makes items a layer. What moves in them next moves in these.
func (f *follower) set(layer int, items iter.Seq2[publish.Item, error]) {
	f.layers[layer] = items
	delete(f.moving, layer)
}
