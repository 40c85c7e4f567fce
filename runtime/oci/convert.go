package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// convert turns a specification into libcontainer's configuration for this caller.
func (r *Runtime) convert(q *CreateRequest, spec *specs.Spec) (*configs.Config, error) {
	if os.Geteuid() != 0 {
		if err := adapt(spec, currentCaller()); err != nil {
			return nil, err
		}
	}
	if err := findRoot(spec.Root); err != nil {
		return nil, err
	}
	return specconv.CreateLibcontainerConfig(&specconv.CreateOpts{
		CgroupName:       q.ID,
		UseSystemdCgroup: r.SystemdCgroup,
		NoPivotRoot:      q.NoPivot,
		NoNewKeyring:     q.NoNewKeyring,
		Spec:             spec,
		RootlessEUID:     os.Geteuid() != 0,
		RootlessCgroups:  r.rootlessCgroups(),
	})
}

// findRoot reads root.path in the form cvmfs://FQRN/PATH, and says what to do where a repository is not mounted.
func findRoot(root *specs.Root) error {
	if path, ok := strings.CutPrefix(root.Path, "cvmfs://"); ok {
		root.Path = filepath.Join("/cvmfs", path)
	}
	repository, ok := strings.CutPrefix(filepath.Clean(root.Path), "/cvmfs/")
	if !ok {
		return nil
	}
	if _, err := os.Stat(root.Path); err != nil {
		fqrn, rest, _ := strings.Cut(repository, "/")
		return fmt.Errorf("root.path: %w; if %s is not mounted on this host, run \"flatrun mount %s DIR\" and use DIR/%s", err, fqrn, fqrn, rest)
	}
	return nil
}
