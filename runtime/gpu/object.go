package gpu

import (
	"debug/elf"
	"io"
	"path"
	"strconv"
	"strings"
)

// Arch is the kind of programs that a file belongs to. The zero value is unknown.
type Arch struct {
	Class   elf.Class
	Machine elf.Machine
}

// Version is a version of glibc, such as {2, 34}. The zero value is unknown.
type Version struct{ Major, Minor int }

// Less reports whether v is older than w.
func (v Version) Less(w Version) bool {
	return v.Major < w.Major || v.Major == w.Major && v.Minor < w.Minor
}

func (v Version) String() string { return strconv.Itoa(v.Major) + "." + strconv.Itoa(v.Minor) }

// ParseVersion reads the name of a symbol version, such as GLIBC_2.34 or GLIBC_2.2.5. GLIBC_PRIVATE is none.
func ParseVersion(name string) (Version, bool) {
	text, ok := strings.CutPrefix(name, "GLIBC_")
	major, rest, _ := strings.Cut(text, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	return Version{a, b}, ok && err1 == nil && err2 == nil && a >= 0 && b >= 0
}

// Object is what counts of a shared library.
type Object struct {
	Name  string // what programs ask for (DT_SONAME), "" if it does not say
	Arch  Arch
	Needs Version // the newest glibc symbols that it uses
	Has   Version // the newest that it defines; libc.so.6 does
}

// ReadObject reads a library. The file may be anything; what is no ELF file is an error.
func ReadObject(r io.ReaderAt) (Object, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return Object{}, err
	}
	o := Object{Arch: Arch{f.Class, f.Machine}}
	if names, err := f.DynString(elf.DT_SONAME); err == nil && len(names) == 1 && path.Base(names[0]) == names[0] {
		o.Name = names[0]
	}
	// A file without version sections is one without needs; so is one whose sections were stripped.
	needs, _ := f.DynamicVersionNeeds()
	for _, n := range needs {
		for _, dep := range n.Needs {
			if v, ok := ParseVersion(dep.Dep); ok && o.Needs.Less(v) {
				o.Needs = v
			}
		}
	}
	has, _ := f.DynamicVersions()
	for _, d := range has {
		if v, ok := ParseVersion(d.Name); ok && o.Has.Less(v) {
			o.Has = v
		}
	}
	return o, nil
}
