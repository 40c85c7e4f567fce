package runtime

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Starter is a way to start a container.
type Starter int

const (
	// InProcess is Start: the calling process, whose namespaces were made before the Go runtime had threads, sets the
	// container up and becomes its command.
	InProcess Starter = iota
	// Bundle is libcontainer's Create and Run, with a process of its own that outlives the call and a state directory.
	Bundle
)

// Choose decides how a specification is started, and why not in the process if it is not.
//
// In the process is the rule, for it is what the command line needs and libcontainer cannot give:
//   - one start of a Go program instead of three: 3 ms instead of 15 (reference: bwrap 3);
//   - the caller's own uid inside: libcontainer's first stage insists on uid 0 in a new user namespace;
//   - the caller's session and terminal: its second stage calls setsid, after which there is no job control without a
//     pseudo-terminal and a process that copies;
//   - the command keeps the process id that the batch system knows, and nothing stays behind.
//
// The capability sets are libcontainer's in both ways. A bundle is left to it whole if it asks for what takes a second
// process that lives on, or the host's root.
func Choose(spec *specs.Spec) (Starter, string) {
	mapped := func(m specs.Mount) bool { return m.UIDMappings != nil || m.GIDMappings != nil }
	switch {
	case spec.Process == nil:
		return Bundle, "it has no process"
	case spec.Process.Terminal:
		return Bundle, "it asks for a new pseudo-terminal"
	case spec.Hooks != nil:
		return Bundle, "it has hooks"
	case slices.ContainsFunc(spec.Mounts, mapped):
		return Bundle, "it has mounts with mapped ids"
	case spec.Linux == nil:
		return InProcess, ""
	case spec.Linux.Resources != nil || spec.Linux.CgroupsPath != "":
		return Bundle, "it has a control group of its own"
	case spec.Linux.Seccomp != nil && spec.Linux.Seccomp.ListenerPath != "":
		return Bundle, "its system call filter has a listener"
	case spec.Linux.MaskedPaths != nil || spec.Linux.ReadonlyPaths != nil || spec.Linux.Devices != nil || spec.Linux.Sysctl != nil:
		return Bundle, "it changes or hides parts of /proc, /sys or /dev"
	}
	return InProcess, ""
}
