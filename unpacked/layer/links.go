package layer

import (
	"fmt"
	"iter"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// hardLink is a name in the tar that stands for another one's file.
type hardLink struct {
	path, target string
	seq          uint32
	mark         mark // of its record
}

// place is one entry of the tar: a path may come several times.
type place struct {
	path string
	seq  uint32
}

// resolve makes a record of every hard link: its file's, as that was when the link was made. It answers the groups of the
// files that are linked to; the links' records carry theirs. A link's file may be a link itself: each round resolves those
// whose file is a record by now. What a layer links to without having it is a lower layer's, see lower.
func (t *tarReader) resolve() (groups map[place]uint32, err error) {
	groups = map[place]uint32{}
	for open := t.links; len(open) > 0; {
		r := newRound(open, groups)
		for same, err := range grouped(t.sorter.all()) {
			if err == nil {
				err = r.path(same)
			}
			if err != nil {
				return nil, err
			}
		}
		if len(r.made) == 0 {
			if err := t.lower(r, open); err != nil {
				return nil, err
			}
		}
		if err := t.sorter.run(r.made); err != nil {
			return nil, err
		}
		open = r.left(open)
	}
	return groups, nil
}

// round is one pass over all records.
type round struct {
	byTarget map[string][]hardLink
	byPath   map[string][]uint32 // places of open links: what is there is not known yet
	groups   map[place]uint32
	resolved map[uint32]bool // by place
	made     []record
}

func newRound(open []hardLink, groups map[place]uint32) *round {
	r := &round{byTarget: map[string][]hardLink{}, byPath: map[string][]uint32{}, groups: groups, resolved: map[uint32]bool{}}
	for _, l := range open {
		r.byTarget[l.target] = append(r.byTarget[l.target], l)
		r.byPath[l.path] = append(r.byPath[l.path], l.seq)
	}
	return r
}

// path resolves the links to one path, given all its records.
func (r *round) path(same []record) error {
	for _, l := range r.byTarget[same[0].item.Path] {
		var file *record
		for i := range same {
			if (same[i].mark == entry || same[i].mark == aside) && same[i].seq < l.seq {
				file = &same[i]
			}
		}
		if file == nil || r.later(l, file.seq) {
			continue
		}
		if file.item.Entry.IsDir() {
			return fmt.Errorf("tar entry %q: a hard link to the directory %q", l.path, l.target)
		}
		made := *file
		made.item.Path, made.seq, made.mark = l.path, l.seq, l.mark
		made.item.Entry.LinkGroup = r.group(file)
		r.made = append(r.made, made)
		r.resolved[l.seq] = true
	}
	return nil
}

// later tells whether an open link took the target's place after seq and before l.
func (r *round) later(l hardLink, seq uint32) bool {
	for _, other := range r.byPath[l.target] {
		if other > seq && other < l.seq {
			return true
		}
	}
	return false
}

// group is the number of a file's hard-link group.
func (r *round) group(file *record) uint32 {
	if g := file.item.Entry.LinkGroup; g != 0 {
		return g // a link's own record
	}
	p := place{file.item.Path, file.seq}
	if r.groups[p] == 0 {
		r.groups[p] = uint32(len(r.groups) + 1)
	}
	return r.groups[p]
}

func (r *round) left(open []hardLink) []hardLink {
	var left []hardLink
	for _, l := range open {
		if !r.resolved[l.seq] {
			left = append(left, l)
		}
	}
	return left
}

// lower makes records of the open links whose files are not the archive's own: symbolic links with the attribute LowerLink.
// It is called when no other is left, and makes one at least: a link's file has an earlier place than itself.
func (t *tarReader) lower(r *round, open []hardLink) error {
	if !t.o.Whiteouts {
		return fmt.Errorf("tar entry %q: a hard link to %q, which the archive does not have before it", open[0].path, open[0].target)
	}
	for _, l := range open {
		if !r.later(l, 0) {
			r.made = append(r.made, record{seq: l.seq, mark: l.mark, item: publish.Item{Path: l.path, Entry: catalog.Entry{
				Mode: unix.S_IFLNK | 0o777, Symlink: l.target, MtimeNsec: -1, Xattrs: map[string][]byte{LowerLink: []byte("y")},
			}}})
			r.resolved[l.seq] = true
		}
	}
	return t.refuseRemoved(open, r.resolved)
}

// refuseRemoved refuses links to what the layer itself removed before them.
func (t *tarReader) refuseRemoved(open []hardLink, lower map[uint32]bool) error {
	towards := map[string][]hardLink{} // by the files' paths and those of the directories above them
	for _, l := range open {
		if lower[l.seq] {
			for p := l.target; ; p = p[:strings.LastIndexByte(p, '/')] {
				if towards[p] = append(towards[p], l); p == "" {
					break
				}
			}
		}
	}
	for r, err := range t.sorter.all() {
		if err != nil {
			return err
		}
		if r.mark == entry && r.item.Entry.IsDir() {
			continue
		}
		for _, l := range towards[r.item.Path] {
			if r.seq < l.seq && !(r.mark == opaque && l.target == r.item.Path) {
				return fmt.Errorf("tar entry %q: a hard link to %q, which the layer removes before it", l.path, l.target)
			}
		}
	}
	return nil
}

// grouped yields the records of each path together.
func grouped(records iter.Seq2[*record, error]) iter.Seq2[[]record, error] {
	return func(yield func([]record, error) bool) {
		var same []record
		for r, err := range records {
			if err != nil {
				yield(nil, err)
				return
			}
			if len(same) > 0 && same[0].item.Path != r.item.Path {
				if !yield(same, nil) {
					return
				}
				same = same[:0]
			}
			same = append(same, *r)
		}
		if len(same) > 0 {
			yield(same, nil)
		}
	}
}
