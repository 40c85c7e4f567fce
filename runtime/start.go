package runtime

import (
	"errors"
	"fmt"
	"log/slog"
	goruntime "runtime"

	"github.com/opencontainers/runc/libcontainer/capabilities"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/runtime/seccomp"
	"github.com/flatrun/flatrun/runtime/vfs"
)

// Extras are what a specification does not say. The zero value serves.
type Extras struct {
	// Built is called when the process has moved into its root, with the rights that it has there. Descriptors that
	// were opened before still lead outside.
	Built func() error
	Env   []string     // of programs of the host that the container needs (FUSE)
	Log   *slog.Logger // warnings, and at level Info what was left out; nil = nothing is told
}

// Start becomes the command of a specification made by Spec, in this process. It returns only with an error, or without
// one if the specification has no command: then the process has moved into the container.
//
// The process must be in the namespaces that the specification names, with the capabilities that whoever makes or
// joins a user namespace gets. After an error it can only end: its root may have changed.
func Start(spec *specs.Spec, x Extras) error {
	if x.Log == nil {
		x.Log = slog.New(slog.DiscardHandler)
	}
	if how, reason := Choose(spec); how != InProcess {
		return fmt.Errorf("the container cannot be started in this process: %s", reason)
	}
	// no_new_privs, capabilities and filters belong to a thread; the one that calls execve is the one that counts.
	goruntime.LockOSThread()
	rights, err := capabilitySets(spec.Process.Capabilities)
	if err != nil {
		return err
	}
	fuse := &drivers{}
	if err := build(spec, fuse, x); err != nil {
		return err
	}
	if spec.Hostname != "" {
		if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
			return fmt.Errorf("set host name %s: %w", spec.Hostname, err)
		}
	}
	if x.Built != nil {
		if err := x.Built(); err != nil {
			return err
		}
	}
	if err := fuse.start(false, spec.Process.Env); err != nil {
		return err
	}
	if len(spec.Process.Args) == 0 {
		return nil
	}
	return become(spec, rights, x.Log)
}

// Join becomes the command of a specification in a container that runs already. The process must be in all of its
// namespaces (enter.Plan.Process) with its root as root. What the specification says of mounts and namespaces is not
// looked at. It returns only with an error.
func Join(spec *specs.Spec, x Extras) error {
	if x.Log == nil {
		x.Log = slog.New(slog.DiscardHandler)
	}
	goruntime.LockOSThread()
	rights, err := capabilitySets(spec.Process.Capabilities)
	if err != nil {
		return err
	}
	return become(spec, rights, x.Log)
}

// become finds the command, gives up rights and executes it.
func become(spec *specs.Spec, rights *capabilities.Caps, log *slog.Logger) error {
	enterDirectory(spec, log)
	file, err := lookPath(spec.Process.Args[0], spec.Process.Env)
	if err != nil {
		return err
	}
	if err := limit(spec.Process); err != nil {
		return err
	}
	if err := confine(spec, rights); err != nil {
		return err
	}
	return execute(file, spec.Process.Args, spec.Process.Env)
}

// build makes the root file system and moves into it.
func build(spec *specs.Spec, fuse *drivers, x Extras) error {
	root, mounts, err := rootOf(spec)
	if err != nil {
		return err
	}
	root.Log = x.Log
	list := make([]vfs.Mount, len(mounts))
	for i, m := range mounts {
		if list[i], err = vfsMount(m); err != nil {
			return err
		}
		if m.Type == typeFUSE {
			if err := fuse.add(m, &list[i]); err != nil {
				return err
			}
		}
	}
	if err := fuse.start(true, x.Env); err != nil {
		return err
	}
	tree, err := vfs.Build(root, list)
	if err == nil {
		err = tree.Enter()
	}
	if errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("%w: Linux 5.12 or newer is needed (see flatrun doctor), and the seccomp profile of a container around this process must know its mount calls", err)
	}
	return err
}

// enterDirectory goes to the working directory, else home, else /, where Enter has left the process.
func enterDirectory(spec *specs.Spec, log *slog.Logger) {
	err := unix.Chdir(spec.Process.Cwd)
	if err == nil {
		return
	}
	instead := "/"
	if home := spec.Annotations[annotationHome]; home != "" && unix.Chdir(home) == nil {
		instead = home
	}
	log.Warn("working directory not available", "directory", spec.Process.Cwd, "reason", err, "instead", instead)
}

// limit sets what every process may set for itself.
func limit(p *specs.Process) error {
	if p.User.Umask != nil {
		unix.Umask(int(*p.User.Umask))
	}
	for _, r := range p.Rlimits {
		resource, ok := resources[r.Type]
		if !ok {
			return fmt.Errorf("limit %s: unknown", r.Type)
		}
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: r.Soft, Max: r.Hard}); err != nil {
			return fmt.Errorf("limit %s to %d, at most %d: %w", r.Type, r.Soft, r.Hard, err)
		}
	}
	return nil
}

var resources = map[string]int{
	"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_CPU": unix.RLIMIT_CPU,
	"RLIMIT_DATA": unix.RLIMIT_DATA, "RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS,
	"RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK, "RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE,
	"RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_RSS": unix.RLIMIT_RSS,
	"RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO, "RLIMIT_RTTIME": unix.RLIMIT_RTTIME, "RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING,
	"RLIMIT_STACK": unix.RLIMIT_STACK,
}

// confine gives up rights. A filter may be loaded by a process that can gain no privileges or has CAP_SYS_ADMIN, so it
// comes last with no_new_privs and first without.
func confine(spec *specs.Spec, rights *capabilities.Caps) error {
	steps := []func() error{
		func() error { return filter(spec) },
		rights.ApplyCaps,
	}
	if spec.Process.NoNewPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("set no_new_privs: %w", err)
		}
		steps[0], steps[1] = steps[1], steps[0]
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("give up rights: %w", err)
		}
	}
	return nil
}

// filter loads the system call filter. On a processor whose system calls we have no names for there is none, unless
// the caller insists on one of his own.
func filter(spec *specs.Spec) error {
	if spec.Linux == nil || spec.Linux.Seccomp == nil {
		return nil
	}
	err := seccomp.Load(spec.Linux.Seccomp)
	if errors.Is(err, seccomp.ErrUnsupported) && spec.Linux.Seccomp.DefaultAction == specs.ActAllow {
		return nil
	}
	return err
}

// capabilitySets prepares the capability sets of a process; those of nil stay as they are. It needs the host's /proc.
func capabilitySets(c *specs.LinuxCapabilities) (*capabilities.Caps, error) {
	var sets *configs.Capabilities
	if c != nil {
		sets = &configs.Capabilities{
			Bounding:    c.Bounding,
			Effective:   c.Effective,
			Inheritable: c.Inheritable,
			Permitted:   c.Permitted,
			Ambient:     c.Ambient,
		}
	}
	caps, err := capabilities.New(sets)
	if err != nil {
		return nil, fmt.Errorf("capabilities: %w", err)
	}
	return caps, nil
}

// HomeInside is the home directory that a specification made by Spec has inside, "" if it has none.
func HomeInside(spec *specs.Spec) string { return spec.Annotations[annotationHome] }
