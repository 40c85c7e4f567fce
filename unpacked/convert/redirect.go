package convert

import (
	"fmt"
	"iter"
	"path"
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
		from := stack[i].Path
		to := link.Symlink
		if !path.IsAbs(to) {
			to = path.Join(path.Dir(from), to)
		}
		if to = path.Clean("/" + to); to == "/" {
			to = ""
		}
		return &redirect{stack[i].layer, from, to}
	}
	return nil
}

// mergeFollowing writes the merge of the layers by way of replace, again for each link that a layer's path leads through.
func mergeFollowing(layers []iter.Seq2[publish.Item, error], replace func(iter.Seq2[publish.Item, error]) error) error {
	for range maxLinks {
		var stop *redirect
		err := replace(func(yield func(publish.Item, error) bool) {
			for it, err := range Merge(layers...) {
				if r, ok := err.(*redirect); ok {
					stop = r
				}
				if !yield(it, err) {
					return
				}
			}
		})
		if stop == nil {
			return err
		}
		layers[stop.layer] = redirected(layers[stop.layer], stop.from, stop.to)
	}
	return fmt.Errorf("a path of a layer leads through more than %d symbolic links", maxLinks)
}

// redirected is a layer with what lies below from moved to lie below to. What moves is held in memory.
func redirected(items iter.Seq2[publish.Item, error], from, to string) iter.Seq2[publish.Item, error] {
	return func(yield func(publish.Item, error) bool) {
		moved := impliedPath(to)
		for it, err := range items {
			if err != nil {
				yield(it, err)
				return
			}
			if strings.HasPrefix(it.Path, from+"/") {
				it.Path = to + strings.TrimPrefix(it.Path, from)
				moved = append(moved, it)
			}
		}
		left := func(yield func(publish.Item, error) bool) {
			for it, err := range items {
				if err == nil && (it.Path == from || strings.HasPrefix(it.Path, from+"/")) {
					continue
				}
				if !yield(it, err) {
					return
				}
			}
		}
		union(left, moved, yield)
	}
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

// union yields two sorted streams as one. Of two items of a path the moved one counts, unless it is a directory that
// nothing is known of.
func union(left iter.Seq2[publish.Item, error], moved []publish.Item, yield func(publish.Item, error) bool) {
	for it, err := range left {
		if err != nil {
			yield(it, err)
			return
		}
		for len(moved) > 0 && publish.ComparePaths(moved[0].Path, it.Path) < 0 {
			if !yield(moved[0], nil) {
				return
			}
			moved = moved[1:]
		}
		if len(moved) > 0 && moved[0].Path == it.Path {
			switch m := moved[0]; {
			case !isImplied(m.Entry) && m.Entry.IsDir() == it.Entry.IsDir():
				it = m
			case m.Entry.IsDir() != it.Entry.IsDir():
				yield(it, fmt.Errorf("%s: lies below a symbolic link, and would be a directory and something else at once: refused", it.Path))
				return
			}
			moved = moved[1:]
		}
		if !yield(it, nil) {
			return
		}
	}
	for _, it := range moved {
		if !yield(it, nil) {
			return
		}
	}
}
