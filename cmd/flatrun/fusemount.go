package main

import (
	"path"
	"slices"
	"strings"

	"github.com/flatrun/flatrun/runtime"
)

// fuseKinds are what a value of --fusemount begins with: whose program it is, and whether it goes into the background.
var fuseKinds = []string{"container", "container-daemon", "host", "host-daemon"}

// placeFUSE reads --fusemount KIND:PROGRAM [ARG...] TARGET.
func (c *container) placeFUSE(r *runtime.Request) error {
	o := c.options
	for _, text := range splitFUSE(o.FUSEMount) {
		kind, rest, _ := strings.Cut(text, ":")
		words := strings.Fields(rest)
		switch {
		case len(strings.Fields(text)) < 2 || len(words) < 2:
			return fatal("while setting fuse mount: no whitespace separators found in command %q: give container:PROGRAM MOUNTPOINT", text)
		case !slices.Contains(fuseKinds, kind):
			return fatal("while setting fuse mount: fusemount spec begin with an unknown prefix %s: use one of %s", kind, strings.Join(fuseKinds, ", "))
		}
		target := words[len(words)-1]
		if !path.IsAbs(target) {
			return fatal("while setting fuse mount: mount point %s must be an absolute path in the container", target)
		}
		owner, daemon := strings.CutSuffix(kind, "-daemon")
		r.FUSE = append(r.FUSE, runtime.FUSE{Program: words[:len(words)-1], Target: target, Host: owner == "host", Daemon: daemon})
	}
	switch {
	case len(r.FUSE) == 0:
	case c.site != nil && !c.site.EnableFusemount:
		return fatal("--fusemount: this site does not allow it (enable_fusemount)")
	case !o.PID:
		return fatal("--fusemount: its program needs a PID namespace, and this site does not allow them (allow_pid_ns)")
	case o.ShareNS:
		return fatal("--fusemount: its program would end with the first process of a shared container: leave out --sharens, or mount on the host and use --bind")
	}
	return nil
}

// splitFUSE splits lists at commas as Apptainer does, but for those within the options of a program.
func splitFUSE(lists []string) (all []string) {
	for _, list := range lists {
		for i, part := range strings.Split(list, ",") {
			kind, _, ok := strings.Cut(part, ":")
			if i > 0 && !(ok && slices.Contains(fuseKinds, kind)) {
				all[len(all)-1] += "," + part
				continue
			}
			all = append(all, part)
		}
	}
	return all
}
