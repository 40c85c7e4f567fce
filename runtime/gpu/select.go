package gpu

import (
	"path"
	"slices"
	"strings"
)

// Inventory is what the host has of a vendor's things. Select does not look further.
type Inventory struct {
	Libraries []Library         // of the loader cache, in its order
	Objects   map[string]Object // by path; a library that is not here cannot be used
	Programs  []string          // paths
	Files     []string
	Devices   []string
}

// Image is what has to be known of the image.
type Image struct {
	Arch  Arch    // unknown: any
	Glibc Version // unknown: no glibc, or none that was found; then nothing is left out for its sake
	GLVND bool    // it has libglvnd itself
}

// Bind shows a file of the host at a place in the container.
type Bind struct{ Source, Target string }

// Selection is what a container gets.
type Selection struct {
	Libraries []Bind
	Programs  []Bind
	Files     []Bind
	Devices   []string // only with a /dev of its own; otherwise the host's is seen anyway
	TooNew    []string // names of libraries that need a newer glibc than the image has
	Needs     Version  // what they need, the newest
}

// Empty reports whether there is no driver at all.
func (s *Selection) Empty() bool {
	return len(s.Libraries) == 0 && len(s.Programs) == 0 && len(s.Devices) == 0 && len(s.TooNew) == 0
}

// Select decides what of the host's driver goes into a container.
func Select(v Vendor, host Inventory, image Image) Selection {
	var s Selection
	for _, l := range host.Libraries {
		stem, ok := stem(l.Name)
		if !ok || l.Hwcap != 0 || !slices.Contains(v.Libraries, stem) {
			continue // variants for certain processors have a plain one beside them
		}
		object, ok := host.Objects[l.Path]
		if !ok || image.Arch != (Arch{}) && object.Arch != image.Arch {
			continue
		}
		if image.GLVND && slices.Contains(frontEnds, stem) {
			continue
		}
		target := path.Join(LibraryDir, l.Name)
		if slices.ContainsFunc(s.Libraries, func(b Bind) bool { return b.Target == target }) || slices.Contains(s.TooNew, l.Name) {
			continue // the loader takes the first
		}
		if image.Glibc != (Version{}) && image.Glibc.Less(object.Needs) {
			s.TooNew = append(s.TooNew, l.Name)
			if s.Needs.Less(object.Needs) {
				s.Needs = object.Needs
			}
			continue
		}
		s.Libraries = append(s.Libraries, Bind{l.Path, target})
	}
	for _, p := range host.Programs {
		s.Programs = append(s.Programs, Bind{p, "/usr/bin/" + path.Base(p)})
	}
	for _, p := range host.Files {
		s.Files = append(s.Files, Bind{p, p})
	}
	s.Devices = host.Devices
	if s.Empty() {
		return Selection{} // a lone configuration file is no driver
	}
	return s
}

// stem cuts the ending off a library's name.
func stem(name string) (string, bool) {
	stem, rest, ok := strings.Cut(name, ".so")
	return stem, ok && (rest == "" || rest[0] == '.')
}

// wanted are the libraries whose files have to be looked into.
func wanted(v Vendor, all []Library) []Library {
	var list []Library
	for _, l := range all {
		if s, ok := stem(l.Name); ok && l.Hwcap == 0 && slices.Contains(v.Libraries, s) {
			list = append(list, l)
		}
	}
	return list
}
