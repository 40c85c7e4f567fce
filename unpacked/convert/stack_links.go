package convert

import "github.com/flatrun/flatrun/mount/catalog"

// linkTable counts the names that files have: of the image, and of each layer, where the kernel counts them whether they
// are hidden or not. Only names in one directory are of one file in a repository.
type linkTable struct {
	layers map[layerFile]int
	flat   map[flatFile]*flatLinks
}

// layerFile is a hard-link group in one directory of a layer.
type layerFile struct {
	layer int
	flatFile
}

// flatFile is a hard-link group in one directory.
type flatFile struct {
	dir   string
	group uint32
}

// flatLinks are the names of a file of the image.
type flatLinks struct {
	n     int
	shown layerFile // what the kernel shows at the first of them
	mixed bool      // it shows other files at others
}

func newLinkTable() *linkTable {
	return &linkTable{layers: map[layerFile]int{}, flat: map[flatFile]*flatLinks{}}
}

// layer counts a name that a layer has for one of its files.
func (t *linkTable) layer(i *layerItem) { t.layers[shownFile(i)]++ }

func shownFile(i *layerItem) layerFile {
	return layerFile{i.layer, flatFile{catalog.Parent(i.Path), i.group}}
}

// add counts a name that the image has.
func (t *linkTable) add(p pair) {
	if p.flat == nil || p.flat.Entry.LinkGroup == 0 {
		return
	}
	key := flatFile{catalog.Parent(p.path), p.flat.Entry.LinkGroup}
	l := t.flat[key]
	if l == nil {
		l = &flatLinks{}
		if p.shown != nil {
			l.shown = shownFile(p.shown)
		}
		t.flat[key] = l
	}
	l.n++
	l.mixed = l.mixed || p.shown == nil || p.shown.group == 0 || shownFile(p.shown) != l.shown
}

// alike tells whether the file at a path has the same names in the image and where the kernel stacks its layers.
func (t *linkTable) alike(p pair) bool {
	shown := 1
	if p.shown.group != 0 {
		shown = t.layers[shownFile(p.shown)]
	}
	l := t.flat[flatFile{catalog.Parent(p.path), p.flat.Entry.LinkGroup}]
	if l == nil || l.n == 1 {
		return shown == 1
	}
	return !l.mixed && l.n == shown
}
