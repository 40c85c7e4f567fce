package singularity

import (
	"io/fs"
	"slices"
	"sort"
	"strings"

	"mvdan.cc/sh/v3/expand"
)

// DefaultPath is PATH inside, unless the image says otherwise.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// libraryDir is where libraries of the host are bound.
const libraryDir = "/.singularity.d/libs"

// variables are those of a shell: it implements expand.Environ.
type variables map[string]expand.Variable

func (v variables) Get(name string) expand.Variable { return v[name] }

func (v variables) Each(f func(string, expand.Variable) bool) {
	for name, value := range v {
		if !f(name, value) {
			return
		}
	}
}

// set exports a variable.
func (v variables) set(name, value string) {
	v[name] = expand.Variable{Set: true, Exported: true, Kind: expand.String, Str: value}
}

func (v variables) has(name string) bool   { return v[name].Set }
func (v variables) get(name string) string { return v[name].Str }

// environ lists the exported ones as NAME=value, sorted.
func (v variables) environ() []string {
	list := make([]string, 0, len(v))
	for name, value := range v {
		if value.Set && value.Exported && value.Kind == expand.String {
			list = append(list, name+"="+value.Str)
		}
	}
	slices.Sort(list)
	return list
}

// nameLength is how much of the beginning of s can be a variable's name.
func nameLength(s string) int {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '_', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z':
		case i > 0 && c >= '0' && c <= '9':
		default:
			return i
		}
	}
	return len(s)
}

// validName reports whether a shell can have a variable of this name.
func validName(name string) bool { return name != "" && nameLength(name) == len(name) }

// completePath appends the default directories that a search path lacks.
func completePath(searchPath string) string {
	var dirs []string
	if searchPath != "" {
		dirs = strings.Split(searchPath, ":")
	}
	for _, dir := range strings.Split(DefaultPath, ":") {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return strings.Join(dirs, ":")
}

// sortEntries orders a listing by name, as a shell's pattern does.
func sortEntries(entries []fs.DirEntry) {
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name() < entries[j].Name() })
}
