package oci

import (
	"fmt"

	"github.com/opencontainers/runc/libcontainer/capabilities"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// Features says what a configuration may ask for, in the words of the specification's features document. It needs no
// rights and no state directory.
func Features(version string) *features.Features {
	yes, filter := true, seccomp.Enabled
	f := &features.Features{
		OCIVersionMin: "1.0.0",
		OCIVersionMax: specs.Version,
		Hooks:         configs.KnownHookNames(),
		MountOptions:  specconv.KnownMountOptions(),
		Annotations:   map[string]string{"org.flatrun.version": version},
		Linux: &features.Linux{
			Namespaces:      specconv.KnownNamespaces(),
			Capabilities:    capabilities.KnownCapabilities(),
			Cgroup:          &features.Cgroup{V1: &yes, V2: &yes, Systemd: &yes, SystemdUser: &yes, Rdma: &yes},
			Seccomp:         &features.Seccomp{Enabled: &filter},
			Apparmor:        &features.Apparmor{Enabled: &yes},
			Selinux:         &features.Selinux{Enabled: &yes},
			IntelRdt:        &features.IntelRdt{Enabled: &yes},
			MemoryPolicy:    &features.MemoryPolicy{Modes: specconv.KnownMemoryPolicyModes(), Flags: specconv.KnownMemoryPolicyFlags()},
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &yes}},
			NetDevices:      &features.NetDevices{Enabled: &yes},
		},
		PotentiallyUnsafeConfigAnnotations: []string{"bundle", "org.systemd.property."},
	}
	if filter {
		s := f.Linux.Seccomp
		s.Actions, s.Operators, s.Archs = seccomp.KnownActions(), seccomp.KnownOperators(), seccomp.KnownArchs()
		s.KnownFlags, s.SupportedFlags = seccomp.KnownFlags(), seccomp.SupportedFlags()
		major, minor, patch := seccomp.Version()
		f.Annotations["io.github.seccomp.libseccomp.version"] = fmt.Sprintf("%d.%d.%d", major, minor, patch)
	}
	return f
}

// ExampleSpec is a configuration to start from, for an ordinary user if rootless.
func ExampleSpec(rootless bool) *specs.Spec {
	spec := specconv.Example()
	spec.Hostname = "flatrun"
	if rootless {
		specconv.ToRootless(spec)
	}
	return spec
}
