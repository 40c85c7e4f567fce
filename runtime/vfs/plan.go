package vfs

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Type is what a name in the image is.
type Type uint8

const (
	Missing Type = iota
	Dir
	Plain // anything that is neither a directory nor a link
	Symlink
)

// Lookup tells what the image has at name, whose directory part holds no links, and where a link points.
type Lookup func(name string) (t Type, link string, err error)

// Want is a mount as far as Plan is concerned. One without Target has no place of its own.
type Want struct {
	Target   string
	Dir      bool // a directory is mounted
	Unique   bool
	Exists   bool
	Weak     bool
	NoFollow bool
}

// Place is where a mount goes.
type Place struct {
	Path   string // Target without links, as far as the image decides
	Inside int    // index of the earlier mount in which it lies, -1 if it lies in the image
	Over   bool   // it goes over the link at Path itself, which leads nowhere or is not to be followed
	Skip   bool   // not needed: Unique or Exists
	Err    error
}

// Farm lists the mount points that a directory of the image lacks.
type Farm struct {
	Dir  string
	New  []Node // parents before children
	Weak bool   // only weak mounts need it
}

// Node is a mount point to be made.
type Node struct {
	Path string // absolute inside
	Dir  bool
	Weak bool // only weak mounts need it
}

// Plan looks for the place of each mount, in order, in an image and in the mounts before it.
func Plan(wants []Want, lookup Lookup) ([]Place, []Farm) {
	p := &planner{wants: wants, lookup: lookup, mounted: map[string]int{}, made: map[string]bool{}}
	places := make([]Place, len(wants))
	for i, w := range wants {
		if w.Target == "" {
			places[i].Inside = -1
			continue
		}
		place := p.place(w)
		if _, again := p.mounted[place.Path]; again && w.Unique {
			place.Skip = true
		}
		if place.Err == nil && !place.Skip {
			p.mounted[place.Path] = i
		}
		places[i] = place
	}
	return places, p.farms
}

type planner struct {
	wants   []Want
	lookup  Lookup
	mounted map[string]int  // place → index of the last mount there
	made    map[string]bool // mount points made in farms → whether a directory
	farms   []Farm
}

// maxLinks is the kernel's limit for one path.
const maxLinks = 40

var errNotDir = errors.New("not a directory")

// place walks along w.Target as the kernel would and records what has to be made.
func (p *planner) place(w Want) Place {
	dir, rest, links := "/", components(w.Target), 0
	if len(rest) == 0 {
		return Place{Err: errors.New("nothing can be mounted over / (see --overlay)")}
	}
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			dir = path.Dir(dir)
			continue
		}
		next := path.Join(dir, name)
		isDir, made := p.made[next]
		if made && !w.Weak {
			farm := p.farm(next)
			farm.Weak = false
			for i := range farm.New {
				farm.New[i].Weak = farm.New[i].Weak && farm.New[i].Path != next
			}
		}
		if i, ok := p.mounted[next]; ok {
			return Place{Path: path.Join(next, path.Join(rest...)), Inside: p.inside(i, rest)}
		}
		if !made {
			t, link, err := p.lookup(next)
			switch {
			case err != nil:
				return Place{Err: err}
			case t == Symlink:
				if links++; links > maxLinks {
					return Place{Err: fmt.Errorf("%s: too many links", w.Target)}
				}
				if len(rest) == 0 && !w.Dir && (w.NoFollow || p.dangling(dir, link, links)) {
					return Place{Path: next, Inside: -1, Over: true}
				}
				if path.IsAbs(link) {
					dir = "/"
				}
				rest = append(components(link), rest...)
				continue
			case t == Missing:
				return p.make(w, dir, append([]string{name}, rest...))
			}
			isDir = t == Dir
		}
		if !isDir && (len(rest) > 0 || w.Dir) {
			return Place{Err: fmt.Errorf("%s in the image: %w", next, errNotDir)}
		}
		dir = next
	}
	if !w.Dir && p.isDir(dir) {
		return Place{Err: fmt.Errorf("%s in the image is a directory", dir)}
	}
	return Place{Path: dir, Inside: -1}
}

// inside is the mount that a target lies in: none if it is the place of an earlier mount itself.
func (p *planner) inside(i int, rest []string) int {
	if len(rest) == 0 {
		return -1
	}
	return i
}

// isDir reports whether a place that was found in the image, or made, is a directory.
func (p *planner) isDir(name string) bool {
	if isDir, made := p.made[name]; made || name == "/" {
		return isDir || name == "/"
	}
	t, _, err := p.lookup(name)
	return err == nil && t == Dir
}

// dangling reports whether a link in dir leads to nothing.
func (p *planner) dangling(dir, link string, links int) bool {
	rest := components(link)
	if path.IsAbs(link) {
		dir = "/"
	}
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			dir = path.Dir(dir)
			continue
		}
		next := path.Join(dir, name)
		if _, ok := p.mounted[next]; ok {
			return false
		}
		if _, ok := p.made[next]; ok {
			dir = next
			continue
		}
		t, to, err := p.lookup(next)
		switch {
		case err != nil || t == Plain && len(rest) > 0:
			return false
		case t == Missing:
			return true
		case t == Symlink:
			if links++; links > maxLinks {
				return false
			}
			if path.IsAbs(to) {
				dir = "/"
			}
			rest = append(components(to), rest...)
			continue
		}
		dir = next
	}
	return false
}

// make records that rest is to be made in dir, which exists or was made before.
func (p *planner) make(w Want, dir string, rest []string) Place {
	if w.Exists {
		return Place{Path: path.Join(dir, path.Join(rest...)), Inside: -1, Skip: true}
	}
	if slices.Contains(rest, "..") {
		return Place{Err: fmt.Errorf("%s: %s does not exist in the image, and .. follows", w.Target, path.Join(dir, rest[0]))}
	}
	farm := p.farm(dir)
	farm.Weak = farm.Weak && w.Weak
	for i, name := range rest {
		dir = path.Join(dir, name)
		isDir := i < len(rest)-1 || w.Dir
		p.made[dir] = isDir
		farm.New = append(farm.New, Node{Path: dir, Dir: isDir, Weak: w.Weak})
	}
	return Place{Path: dir, Inside: -1}
}

// farm returns the farm in which entries of dir are made: that of dir, or the one in which dir itself is made.
func (p *planner) farm(dir string) *Farm {
	base := dir
	for {
		if _, made := p.made[base]; !made {
			break
		}
		base = path.Dir(base)
	}
	i := slices.IndexFunc(p.farms, func(f Farm) bool { return f.Dir == base })
	if i < 0 {
		i = len(p.farms)
		p.farms = append(p.farms, Farm{Dir: base, Weak: true})
	}
	return &p.farms[i]
}

// components splits a path into its names; "." and empty ones are left out.
func components(p string) []string {
	return slices.DeleteFunc(strings.Split(p, "/"), func(s string) bool { return s == "" || s == "." })
}
