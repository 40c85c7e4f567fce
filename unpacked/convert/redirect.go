package convert

import (
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/unpacked/layer"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// maxLinks is how many symbolic links a layer's path may lead through, as in the kernel.
const maxLinks = 40

// redirect is what stops a merge: a layer has files in a directory that it does not list, and a lower layer has a symbolic
// link there: /bin/tool over /bin → usr/bin. Whoever unpacks layers one by one writes through the link, so the files
// belong where it leads.
type redirect struct {
	layer    int // of those that were merged
	from, to string
}

func (r *redirect) Error() string {
	return fmt.Sprintf("layer %d goes through the symbolic link %s to %s", r.layer, r.from, r.to)
}

// findRedirect looks for such a layer among the items of one path, the lowest layer's first.
func findRedirect(stack []layerItem) *redirect {
	for i := 1; i < len(stack); i++ {
		dir, link := stack[i].Entry, stack[i-1].Entry
		// A directory that hides what was below it was made anew.
		if !dir.IsDir() || !isImplied(dir) || isOpaque(dir) || !link.IsSymlink() {
			continue
		}
		return &redirect{stack[i].layer, stack[i].Path, leadsTo(stack[i-1].Item)}
	}
	return nil
}

// leadsTo is where a symbolic link leads, if no other is on the way.
func leadsTo(link publish.Item) string {
	to := link.Entry.Symlink
	if !path.IsAbs(to) {
		to = path.Join(path.Dir(link.Path), to)
	}
	if to = path.Clean("/" + to); to == "/" {
		return ""
	}
	return to
}

// movingLayer is a layer with parts that go elsewhere. What moves is held in memory.
type movingLayer struct {
	items iter.Seq2[publish.Item, error]
	from  []string       // directories whose content has moved
	moved []publish.Item // where it lies now, sorted
}

// move moves what lies below from to lie below to.
func (l *movingLayer) move(from, to string) error {
	moved := impliedPath(to)
	rename := func(it publish.Item) {
		if strings.HasPrefix(it.Path, from+"/") {
			it.Path = to + strings.TrimPrefix(it.Path, from)
			moved = append(moved, it)
		}
	}
	for it, err := range l.left() {
		if err != nil {
			return err
		}
		rename(it)
	}
	for _, it := range l.moved {
		if rename(it); !below(it.Path, from) {
			moved = append(moved, it)
		}
	}
	l.from = append(l.from, from)
	slices.SortStableFunc(moved, func(a, b publish.Item) int { return publish.ComparePaths(a.Path, b.Path) })
	l.moved = moved[:0]
	for _, it := range moved {
		n := len(l.moved)
		if n == 0 || l.moved[n-1].Path != it.Path {
			l.moved = append(l.moved, it)
			continue
		}
		both, err := oneOf(l.moved[n-1], it)
		if err != nil {
			return err
		}
		l.moved[n-1] = both
	}
	return nil
}

func below(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// left yields what has not moved.
func (l *movingLayer) left() iter.Seq2[publish.Item, error] {
	return func(yield func(publish.Item, error) bool) {
		for it, err := range l.items {
			if err == nil && slices.ContainsFunc(l.from, func(from string) bool { return below(it.Path, from) }) {
				continue
			}
			if !yield(it, err) {
				return
			}
		}
	}
}

// all yields the layer as it is now.
func (l *movingLayer) all(yield func(publish.Item, error) bool) {
	moved := l.moved
	for it, err := range l.left() {
		for err == nil && len(moved) > 0 && publish.ComparePaths(moved[0].Path, it.Path) < 0 {
			if !yield(moved[0], nil) {
				return
			}
			moved = moved[1:]
		}
		if err == nil && len(moved) > 0 && moved[0].Path == it.Path {
			it, err = oneOf(it, moved[0])
			moved = moved[1:]
		}
		if !yield(it, err) || err != nil {
			return
		}
	}
	for _, it := range moved {
		if !yield(it, nil) {
			return
		}
	}
}

// oneOf is what stays of two entries of a path: the moved one, unless it is a directory that nothing is known of.
func oneOf(there, moved publish.Item) (publish.Item, error) {
	if there.Entry.IsDir() != moved.Entry.IsDir() {
		return there, fmt.Errorf("%s: reached through a symbolic link, and would be a directory and something else at once: refused", there.Path)
	}
	if isImplied(moved.Entry) {
		return there, nil
	}
	return moved, nil
}

// impliedPath are the directories on the way to p, and p itself, as directories that nothing is known of.
func impliedPath(p string) []publish.Item {
	var dirs []publish.Item
	for i := 0; i <= len(p); i++ {
		if i == len(p) || p[i] == '/' {
			dirs = append(dirs, publish.Item{Path: p[:i], Entry: catalog.Entry{
				Mode: unix.S_IFDIR | 0o755, MtimeNsec: -1, Xattrs: map[string][]byte{layer.Implied: []byte("y")},
			}})
		}
	}
	return dirs
}
