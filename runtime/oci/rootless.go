package oci

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
)

// caller is who runs the program, and the subordinate IDs that the administrator granted.
type caller struct {
	uid, gid       uint32
	subUID, subGID []specs.LinuxIDMapping // ContainerID counts from 1
}

// currentCaller looks the caller up. Without newuidmap the grants in /etc/subuid are of no use.
func currentCaller() caller {
	c := caller{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}
	if _, err := exec.LookPath("newuidmap"); err != nil {
		return c
	}
	names := []string{strconv.FormatUint(uint64(c.uid), 10)}
	if u, err := user.LookupUid(os.Geteuid()); err == nil {
		names = append(names, u.Name)
	}
	mine := func(s user.SubID) bool { return slices.Contains(names, s.Name) }
	uids, err := user.ParseSubIDFileFilter("/etc/subuid", mine)
	if err != nil {
		return c
	}
	gids, err := user.ParseSubIDFileFilter("/etc/subgid", mine)
	if err != nil {
		return c
	}
	c.subUID, c.subGID = subordinate(uids), subordinate(gids)
	return c
}

// subordinate lines granted ranges up behind ID 0.
func subordinate(ranges []user.SubID) []specs.LinuxIDMapping {
	var out []specs.LinuxIDMapping
	next := int64(1)
	for _, r := range ranges {
		if r.SubID <= 0 || r.Count <= 0 || next+r.Count > 1<<31 || r.SubID+r.Count > 1<<32-1 {
			continue
		}
		out = append(out, specs.LinuxIDMapping{ContainerID: uint32(next), HostID: uint32(r.SubID), Size: uint32(r.Count)})
		next += r.Count
	}
	return out
}

// adapt makes a configuration written for root work for an ordinary caller: a user namespace is added if there is none,
// and mounts that the kernel refuses in it are replaced by what it allows. Everything else stays as written.
func adapt(spec *specs.Spec, c caller) error {
	if spec.Linux == nil {
		spec.Linux = &specs.Linux{}
	}
	l := spec.Linux
	i := slices.IndexFunc(l.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace })
	if i >= 0 && l.Namespaces[i].Path != "" {
		dropGroups(&spec.Process.User)
		return nil // an existing namespace has its mapping already, and not one that can be read here
	}
	if i < 0 {
		l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	}
	if len(l.UIDMappings) == 0 && len(l.GIDMappings) == 0 {
		l.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: c.uid, Size: 1}}
		l.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: c.gid, Size: 1}}
		if u := spec.Process.User; u.UID != 0 || u.GID != 0 {
			// Only where needed: newuidmap is setuid root and fails under no_new_privs.
			l.UIDMappings, l.GIDMappings = append(l.UIDMappings, c.subUID...), append(l.GIDMappings, c.subGID...)
		}
	}
	if err := checkMapped("process.user.uid", spec.Process.User.UID, l.UIDMappings); err != nil {
		return err
	}
	if err := checkMapped("process.user.gid", spec.Process.User.GID, l.GIDMappings); err != nil {
		return err
	}
	dropGroups(&spec.Process.User)
	adaptMounts(spec)
	return nil
}

// dropGroups leaves out supplementary groups, which an ordinary caller may not set. The process keeps the caller's own;
// to lack others takes rights away and gives none.
func dropGroups(u *specs.User) {
	if len(u.AdditionalGids) > 0 {
		logrus.Warnf("process.user.additionalGids %v are left out: only root may set groups", u.AdditionalGids)
		u.AdditionalGids = nil
	}
}

func checkMapped(what string, id uint32, mappings []specs.LinuxIDMapping) error {
	if !mapped(id, mappings) {
		return fmt.Errorf("%s %d is not mapped in the container's user namespace: use 0, which is the caller outside, or have an administrator grant a range in /etc/subuid and /etc/subgid", what, id)
	}
	return nil
}

func mapped(id uint32, mappings []specs.LinuxIDMapping) bool {
	return slices.ContainsFunc(mappings, func(m specs.LinuxIDMapping) bool {
		return id >= m.ContainerID && uint64(id) < uint64(m.ContainerID)+uint64(m.Size)
	})
}

// private reports whether the container gets a new namespace of a kind.
func private(l *specs.Linux, kind specs.LinuxNamespaceType) bool {
	return slices.ContainsFunc(l.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind && n.Path == "" })
}

// adaptMounts replaces file systems that show a namespace, which only that namespace's owner may mount, by the host's
// where the namespace is the host's, and drops owners that are not mapped from the options of the others.
func adaptMounts(spec *specs.Spec) {
	l := spec.Linux
	var mounts []specs.Mount
	bound := false
	for _, m := range spec.Mounts {
		switch {
		case m.Type == "sysfs" && !private(l, specs.NetworkNamespace):
			m.Type, m.Source, m.Options = "none", "/sys", []string{"rbind", "nosuid", "noexec", "nodev", "ro"}
			bound = bound || filepath.Clean(m.Destination) == "/sys"
		case m.Type == "proc" && !private(l, specs.PIDNamespace):
			m.Type, m.Source, m.Options = "none", "/proc", []string{"rbind", "nosuid", "noexec", "nodev"}
		case m.Type == "mqueue" && !private(l, specs.IPCNamespace):
			continue // the queues can be used without
		case m.Type == "cgroup" && bound && strings.HasPrefix(filepath.Clean(m.Destination), "/sys/"):
			continue // came along with the host's /sys
		default:
			m.Options = mappedOptions(m.Options, l)
		}
		mounts = append(mounts, m)
	}
	spec.Mounts = mounts
}

// mappedOptions leaves out uid= and gid= of IDs that do not exist in the user namespace, such as devpts' gid=5.
func mappedOptions(options []string, l *specs.Linux) []string {
	return slices.DeleteFunc(slices.Clone(options), func(o string) bool {
		mappings := l.UIDMappings
		value, ok := strings.CutPrefix(o, "uid=")
		if !ok {
			if value, ok = strings.CutPrefix(o, "gid="); !ok {
				return false
			}
			mappings = l.GIDMappings
		}
		id, err := strconv.ParseUint(value, 10, 32)
		return err == nil && !mapped(uint32(id), mappings)
	})
}
