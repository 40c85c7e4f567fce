package oci

import (
	"os"
	"slices"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
)

// convert turns a specification into libcontainer's configuration for this caller.
func (r *Runtime) convert(q *CreateRequest, spec *specs.Spec) (*configs.Config, error) {
	if os.Geteuid() != 0 {
		if err := adapt(spec, currentCaller()); err != nil {
			return nil, err
		}
	}
	if err := r.place(spec); err != nil {
		return nil, err
	}
	relax(spec)
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

// relax drops what the kernel ignores and libcontainer refuses: numbers of FIFOs, and options of a file system on a
// bind mount, which shows one that is mounted already. Engines and old bundles write both.
func relax(spec *specs.Spec) {
	if spec.Linux != nil {
		for i := range spec.Linux.Devices {
			if d := &spec.Linux.Devices[i]; d.Type == "p" {
				d.Major, d.Minor = 0, 0
			}
		}
	}
	known := append(specconv.KnownMountOptions(), "defaults", "idmap", "ridmap")
	for i := range spec.Mounts {
		m := &spec.Mounts[i]
		if m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind") {
			m.Options = slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool {
				if slices.Contains(known, o) {
					return false
				}
				logrus.Warnf("bind mount on %s: option %q has no effect", m.Destination, o)
				return true
			})
		}
	}
}
