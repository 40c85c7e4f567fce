package layer

import (
	"fmt"
	"iter"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// The attributes that a layer's directories carry for those who stack it: overlayfs's own for mounts by root and for
// mounts in a user namespace, and ours on directories that the tar does not list, whose attributes are made up. Its prefix
// is overlayfs's, which shows none of those. A symbolic link with LowerLink stands for a hard link to a file of a lower
// layer, which is another one in each image: it leads there where layers are stacked, and a merge puts the file in its
// place.
const (
	OpaqueTrusted = trustedPrefix + "opaque"
	OpaqueUser    = userPrefix + "opaque"
	Implied       = userPrefix + "implied"
	LowerLink     = ownPrefix + "lowerlink"

	// ImpliedBefore is what Implied was once: repositories have layers with it.
	ImpliedBefore = ownPrefix + "implied"

	trustedPrefix = "trusted.overlay."
	userPrefix    = "user.overlay."
	ownPrefix     = "user.flathub."
)

// IsOverlays tells the attributes that overlayfs keeps to itself where layers are stacked.
func IsOverlays(name string) bool {
	return strings.HasPrefix(name, trustedPrefix) || strings.HasPrefix(name, userPrefix)
}

// IsMark tells the attributes that are no part of an image.
func IsMark(name string) bool { return IsOverlays(name) || strings.HasPrefix(name, ownPrefix) }

// Rows are the entries of a layer, sorted, with paths relative to its root.
type Rows struct{ file *file }

// Items yields them, the root ("") first; any number of times, also at once.
func (r *Rows) Items() iter.Seq2[publish.Item, error] {
	return func(yield func(publish.Item, error) bool) {
		in, err := r.file.reader()
		if err != nil {
			yield(publish.Item{}, err)
			return
		}
		for {
			ok, err := in.next()
			if err != nil {
				yield(publish.Item{}, err)
				return
			}
			if !ok || !yield(in.at.item, nil) {
				return
			}
		}
	}
}

// Len is the number of entries.
func (r *Rows) Len() int { return r.file.n }

// Close gives the scratch file back.
func (r *Rows) Close() error { return r.file.close() }

// rows makes the tree of the sorted records.
func (t *tarReader) rows() (*Rows, error) {
	groups, err := t.resolve()
	if err != nil {
		return nil, err
	}
	out, err := create(t.o.Scratch)
	if err != nil {
		return nil, err
	}
	b := builder{out: out, whiteouts: t.o.Whiteouts, groups: groups}
	if err := b.all(t.sorter.all()); err != nil {
		out.close()
		return nil, err
	}
	return &Rows{out}, nil
}

// builder writes the tree: one row for each path, directories before what lies in them.
type builder struct {
	out       *file
	whiteouts bool
	groups    map[place]uint32
	dirs      []string // the directories on the way to the last row
}

func (b *builder) all(records iter.Seq2[*record, error]) error {
	var last []record
	for same, err := range grouped(records) {
		if err != nil {
			return err
		}
		if err := b.path(last, same[0].item.Path); err != nil {
			return err
		}
		last = append(last[:0], same...)
	}
	if err := b.path(last, ""); err != nil {
		return err
	}
	if b.out.n == 0 { // an empty layer has a root all the same
		if err := b.implied(""); err != nil {
			return err
		}
	}
	if err := b.out.w.Flush(); err != nil {
		return fmt.Errorf("scratch file: %w", err)
	}
	return nil
}

// path writes the row of one path out of the records that name it; next is the path that comes after.
func (b *builder) path(same []record, next string) error {
	if len(same) == 0 || same[0].mark == aside {
		return nil
	}
	p := same[0].item.Path
	row, marks, found := b.choose(same)
	inside := next != "" && strings.HasPrefix(next, p+"/")
	switch {
	case !found && marks[whiteout] && inside: // made anew, whatever a lower layer has
		row.Entry = impliedDir(0)
		setOpaque(&row.Entry)
	case !found && marks[opaque]:
		row.Entry = impliedDir(0)
		row.Entry.Xattrs = map[string][]byte{Implied: []byte("y")}
		fallthrough
	case found && (marks[opaque] || marks[whiteout]) && row.Entry.IsDir():
		setOpaque(&row.Entry)
	}
	if inside && !row.Entry.IsDir() {
		return fmt.Errorf("tar entry %q: lies below %q, which is no directory: refused", next, p)
	}
	if err := b.parents(p); err != nil {
		return err
	}
	if row.Entry.IsDir() {
		b.dirs = append(b.dirs, p)
	}
	return b.out.add(&record{item: row})
}

// choose takes the last entry of a path, and what marks it carries.
func (b *builder) choose(same []record) (row publish.Item, marks [4]bool, found bool) {
	row = same[len(same)-1].item
	for _, r := range same {
		marks[r.mark] = true
		if r.mark == entry {
			row, found = r.item, true
			if g := b.groups[place{r.item.Path, r.seq}]; g != 0 {
				row.Entry.LinkGroup = g
			}
		}
	}
	return row, marks, found
}

// parents writes the directories above p that the tar does not list.
func (b *builder) parents(p string) error {
	for len(b.dirs) > 0 && b.dirs[len(b.dirs)-1] != "" && !strings.HasPrefix(p, b.dirs[len(b.dirs)-1]+"/") {
		b.dirs = b.dirs[:len(b.dirs)-1]
	}
	if len(b.dirs) == 0 && p != "" {
		if err := b.implied(""); err != nil {
			return err
		}
	}
	if p == "" {
		return nil
	}
	have := b.dirs[len(b.dirs)-1]
	for i := len(have) + 1; ; {
		slash := strings.IndexByte(p[i:], '/')
		if slash < 0 {
			return nil
		}
		i += slash
		if err := b.implied(p[:i]); err != nil {
			return err
		}
		i++
	}
}

func (b *builder) implied(p string) error {
	b.dirs = append(b.dirs, p)
	it := publish.Item{Path: p, Entry: impliedDir(0)}
	if b.whiteouts {
		it.Entry.Xattrs = map[string][]byte{Implied: []byte("y")}
	}
	return b.out.add(&record{item: it})
}

// impliedDir is a directory that nothing is known of.
func impliedDir(mtime int64) catalog.Entry {
	return catalog.Entry{Mode: unix.S_IFDIR | 0o755, Mtime: mtime, MtimeNsec: -1}
}

func setOpaque(e *catalog.Entry) {
	x := map[string][]byte{OpaqueTrusted: []byte("y"), OpaqueUser: []byte("y")}
	for k, v := range e.Xattrs {
		x[k] = v
	}
	e.Xattrs = x
}
