package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Unmounted are the names of the repositories that a bundle's root and binds lie in and that this host shows nowhere
// below /cvmfs, in order.
func Unmounted(spec *specs.Spec) (names []string) {
	paths := []*string{&spec.Root.Path}
	for i := range spec.Mounts {
		paths = append(paths, &spec.Mounts[i].Source)
	}
	for _, p := range paths {
		name, _, ok := inRepository(*p)
		if !ok || slices.Contains(names, name) {
			continue
		}
		if _, err := os.Stat(filepath.Join("/cvmfs", name)); err != nil {
			names = append(names, name)
		}
	}
	return names
}

// inRepository splits cvmfs://FQRN/PATH and /cvmfs/FQRN/PATH.
func inRepository(path string) (name, rest string, ok bool) {
	below, ok := strings.CutPrefix(path, "cvmfs://")
	if !ok {
		if below, ok = strings.CutPrefix(filepath.Clean(path), "/cvmfs/"); !ok {
			return "", "", false
		}
	}
	name, rest, _ = strings.Cut(below, "/")
	return name, rest, name != ""
}

// place turns paths in repositories into directories of this process's mount namespace: those of r.Repositories, else
// below /cvmfs. What to do where a repository is not mounted is said of the root only; a bind says so itself.
func (r *Runtime) place(spec *specs.Spec) error {
	for i := range spec.Mounts {
		r.placePath(&spec.Mounts[i].Source)
	}
	fqrn, rest, ok := r.placePath(&spec.Root.Path)
	if !ok {
		return nil
	}
	if _, err := os.Stat(spec.Root.Path); err != nil {
		return fmt.Errorf("root.path: %w; if %s is not mounted on this host, run \"flatrun mount %s DIR\" and use DIR/%s", err, fqrn, fqrn, rest)
	}
	return nil
}

func (r *Runtime) placePath(path *string) (fqrn, rest string, ok bool) {
	if fqrn, rest, ok = inRepository(*path); !ok {
		return "", "", false
	}
	dir, shown := r.Repositories[fqrn]
	if !shown {
		dir = filepath.Join("/cvmfs", fqrn)
	}
	*path = filepath.Join(dir, rest)
	return fqrn, rest, true
}
