package main

import (
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/runc/libcontainer/capabilities"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// checkPrivileges refuses what needs root, in Apptainer's words.
func (c *container) checkPrivileges() error {
	o := c.options
	for _, f := range []struct {
		given bool
		name  string
	}{{o.KeepPrivs, "--keep-privs"}, {o.AllowSetuid, "--allow-setuid"}} {
		if f.given && os.Getuid() != 0 && !o.Fakeroot {
			return fatal("%s requires root privileges: add --fakeroot for those that there are in the container", f.name)
		}
	}
	return nil
}

// applyCapabilities changes the capabilities of a process by what the flags say. They are those of the container's user
// namespace, where the user who has made it has all that he asks for.
func (c *container) applyCapabilities(process *specs.Process) {
	o := c.options
	if o.AddCaps == "" && o.DropCaps == "" && !o.NoPrivs {
		return
	}
	set := o.capabilitiesFrom(process.Capabilities, func(verb, names string) {
		c.log.warnf("won't %s unknown capability: %s", verb, names)
	})
	process.Capabilities = &specs.LinuxCapabilities{Bounding: set, Effective: set, Inheritable: set, Permitted: set, Ambient: set}
}

// capabilitiesFrom begins with what there is without flags, where nil is all, and tells of names that it does not know.
func (o *options) capabilitiesFrom(without *specs.LinuxCapabilities, unknown func(verb, names string)) []string {
	var set []string
	switch {
	case o.NoPrivs:
	case without == nil:
		set = capabilities.KnownCapabilities()
	default:
		set = slices.Clone(without.Permitted)
	}
	added, strange := splitCapabilities(o.AddCaps)
	if strange != nil {
		unknown("add", strings.Join(strange, ","))
	}
	dropped, strange := splitCapabilities(o.DropCaps)
	if strange != nil {
		unknown("drop", strings.Join(strange, ","))
	}
	set = slices.DeleteFunc(append(set, added...), func(name string) bool { return slices.Contains(dropped, name) })
	slices.Sort(set)
	return slices.Compact(set)
}

// splitCapabilities reads a comma list of names, with or without CAP_ and in any case; "all" are all.
func splitCapabilities(list string) (names, unknown []string) {
	known := capabilities.KnownCapabilities()
	for word := range strings.SplitSeq(list, ",") {
		name := strings.ToUpper(strings.TrimSpace(word))
		if name == "" {
			continue
		}
		if name == "ALL" {
			names = append(names, known...)
			continue
		}
		if !strings.HasPrefix(name, "CAP_") {
			name = "CAP_" + name
		}
		if slices.Contains(known, name) {
			names = append(names, name)
		} else {
			unknown = append(unknown, name)
		}
	}
	return names, unknown
}
