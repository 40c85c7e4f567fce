package convert

import (
	"fmt"
	"iter"
	"maps"
	"path"
	"strings"

	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/unpacked/layer"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// isLowerLink tells what stands for a hard link to a lower layer's file.
func isLowerLink(e catalog.Entry) bool { return e.IsSymlink() && e.Xattrs[layer.LowerLink] != nil }

// sharedGroups is where the numbers of hard-link groups begin that have members in several layers. Layers number their own
// from 1.
const sharedGroups = 1 << 31

// lowerLink is what stops a merge: a layer has a hard link to a file of a lower one.
type lowerLink struct {
	layer int // of those that were merged
	path  string
}

func (l *lowerLink) Error() string {
	return fmt.Sprintf("layer %d has a hard link into a lower one at %s", l.layer, l.path)
}

func findLowerLink(stack []layerItem) *lowerLink {
	for _, i := range stack {
		if isLowerLink(i.Entry) {
			return &lowerLink{i.layer, i.Path}
		}
	}
	return nil
}

// resolve puts, in the place of all hard links of a layer into lower ones, the files that the merge of these has there, and
// makes both members of one group. Links and files are held in memory.
func (f *follower) resolve(n int) error {
	links := map[string]string{} // the files' paths by the links'
	for it, err := range f.layers[n] {
		if err != nil {
			return err
		}
		if isLowerLink(it.Entry) {
			links[it.Path] = it.Entry.Symlink
		}
	}
	found, err := f.find(n, links)
	if err != nil {
		return err
	}
	shared := make([]sharing, n)
	files := map[string]publish.Item{}
	for link, target := range links {
		file, ok := found[target]
		switch {
		case !ok:
			return fmt.Errorf("%s: a hard link to %s, which no lower layer has: refused", link, target)
		case file.Entry.IsDir():
			return fmt.Errorf("%s: a hard link to the directory %s: refused", link, target)
		}
		file.Entry.LinkGroup = f.share(&shared[file.layer], file)
		file.Path = link
		files[link] = file.Item
	}
	for i, s := range shared {
		if s.files != nil {
			f.set(i, edited(f.layers[i], s.edit))
		}
	}
	f.set(n, edited(f.layers[n], func(it *publish.Item) {
		if file, ok := files[it.Path]; ok {
			*it = file
		}
	}))
	return nil
}

// find looks for files in the merge of the lowest n layers, by paths that may lead through symbolic links.
func (f *follower) find(n int, links map[string]string) (map[string]layerItem, error) {
	found := map[string]layerItem{}
	at := map[string]string{} // where to look for what was asked for
	for _, target := range links {
		at[target] = target
	}
	for range maxLinks {
		var s search
		err := f.merge(n, func(items iter.Seq2[layerItem, error]) error {
			s = search{map[string]layerItem{}, map[string]string{}}
			return s.all(items, at)
		})
		if err != nil {
			return nil, err
		}
		maps.Copy(found, s.found)
		if at = s.elsewhere; len(at) == 0 {
			return found, nil
		}
	}
	return nil, fmt.Errorf("a path of a hard link leads through more than %d symbolic links", maxLinks)
}

// search is one pass of find, with results by what was asked for.
type search struct {
	found     map[string]layerItem
	elsewhere map[string]string // where to look next: a symbolic link leads there
}

func (s *search) all(items iter.Seq2[layerItem, error], at map[string]string) error {
	towards := map[string][]string{} // by the paths that lead to where it is looked for
	for asked, p := range at {
		for ; p != "/" && p != ""; p = path.Dir(p) {
			towards[p] = append(towards[p], asked)
		}
	}
	for i, err := range items {
		if err != nil {
			return err
		}
		for _, asked := range towards[i.Path] {
			if rest := strings.TrimPrefix(at[asked], i.Path); rest == "" {
				s.found[asked] = i
			} else if i.Entry.IsSymlink() {
				s.elsewhere[asked] = leadsTo(i.Item) + rest
			}
		}
	}
	return nil
}

// sharing are the files of a layer that another layer has hard links to, and their new groups.
type sharing struct {
	files  map[string]uint32 // those without a group, by path
	groups map[uint32]uint32
}

// share is the group of a file of the layer that s is of, and of the links to it.
func (f *follower) share(s *sharing, file layerItem) uint32 {
	if file.group >= sharedGroups {
		return file.group
	}
	if s.files == nil {
		*s = sharing{map[string]uint32{}, map[uint32]uint32{}}
	}
	g := s.groups[file.group]
	if file.group == 0 {
		g = s.files[file.Path]
	}
	if g != 0 {
		return g
	}
	g, f.next = f.next, f.next+1
	if file.group == 0 {
		s.files[file.Path] = g
	} else {
		s.groups[file.group] = g
	}
	return g
}

func (s sharing) edit(it *publish.Item) {
	g := s.files[it.Path]
	if it.Entry.LinkGroup != 0 {
		g = s.groups[it.Entry.LinkGroup]
	}
	if g != 0 {
		it.Entry.LinkGroup = g
	}
}

// edited changes the items of a layer.
func edited(items iter.Seq2[publish.Item, error], edit func(*publish.Item)) iter.Seq2[publish.Item, error] {
	return func(yield func(publish.Item, error) bool) {
		for it, err := range items {
			if err == nil {
				edit(&it)
			}
			if !yield(it, err) {
				return
			}
		}
	}
}
