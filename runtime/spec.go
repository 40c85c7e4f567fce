package runtime

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/flatrun/flatrun/runtime/seccomp"
)

// Spec turns a request into a specification. It is a pure function: whether things exist is found out by Start.
func Spec(req Request, host Host) (*specs.Spec, error) {
	if err := check(req); err != nil {
		return nil, err
	}
	s := &specs.Spec{
		Version:     specs.Version,
		Root:        &specs.Root{Path: req.Image.Path, Readonly: !req.Writable},
		Hostname:    req.Hostname,
		Process:     process(req, host),
		Mounts:      mounts(req, host),
		Linux:       namespaces(req, host),
		Annotations: map[string]string{},
	}
	if home := homeTarget(req, host); home != "" {
		s.Annotations[annotationHome] = home
	}
	if req.Image.Name != "" {
		s.Annotations[annotationImage] = req.Image.Name
	}
	if req.MemoryFS != "" {
		s.Annotations[annotationFS] = req.MemoryFS
	}
	if req.Private {
		s.Linux.RootfsPropagation = "private"
	}
	switch {
	case req.Seccomp.Off:
	case req.Seccomp.Profile != nil:
		s.Linux.Seccomp = req.Seccomp.Profile
	default:
		s.Linux.Seccomp = seccomp.Default()
	}
	return s, nil
}

// check refuses what contradicts itself.
func check(req Request) error {
	if len(req.Args) == 0 || req.Args[0] == "" {
		return errors.New("no command to run")
	}
	if !path.IsAbs(req.Image.Path) {
		return fmt.Errorf("image %q: not an absolute path", req.Image.Path)
	}
	for _, b := range slices.Concat(req.Sites, req.Binds) {
		if !path.IsAbs(b.Source) || b.Target != "" && !path.IsAbs(b.Target) {
			return fmt.Errorf("bind %s:%s (%s): paths must be absolute", b.Source, b.Target, b.Origin)
		}
	}
	for _, s := range req.Scratch {
		if !path.IsAbs(s) {
			return fmt.Errorf("scratch directory %q: must be an absolute path inside", s)
		}
	}
	writable := 0
	for _, o := range req.Overlays {
		if !path.IsAbs(o.Path) {
			return fmt.Errorf("overlay %q: not an absolute path", o.Path)
		}
		if !o.ReadOnly {
			writable++
		}
	}
	switch {
	case writable > 1:
		return errors.New("only one overlay can be writable: add :ro to the others")
	case writable > 0 && req.WritableTmpfs:
		return errors.New("a writable overlay and --writable-tmpfs exclude each other")
	case req.Writable && (req.WritableTmpfs || len(req.Overlays) > 0):
		return errors.New("--writable writes into the image itself: leave out --writable-tmpfs and --overlay")
	case req.Hostname != "" && !req.Namespaces.UTS:
		return errors.New("a host name needs a UTS namespace: add --uts")
	}
	return nil
}

// process says what runs, as whom and with which rights.
func process(req Request, host Host) *specs.Process {
	p := &specs.Process{
		User:            specs.User{UID: host.UID, GID: host.GID, Umask: req.Umask},
		Args:            req.Args,
		Env:             req.Env,
		Cwd:             req.Cwd,
		Rlimits:         req.Rlimits,
		NoNewPrivileges: !req.Privileges.AllowSetuid,
	}
	if req.Namespaces.Fakeroot {
		p.User.UID, p.User.GID = 0, 0
	}
	p.Cwd = cmp.Or(p.Cwd, host.Cwd, homeTarget(req, host))
	if !path.IsAbs(p.Cwd) {
		p.Cwd = "/"
	}
	// Empty sets take everything away; none at all leaves what the user namespace gives, which is root's all and
	// nothing for others.
	if !req.Namespaces.Fakeroot && !req.Privileges.Keep {
		p.Capabilities = &specs.LinuxCapabilities{}
	}
	return p
}

// namespaces lists those that Start expects to be in.
func namespaces(req Request, host Host) *specs.Linux {
	l := &specs.Linux{
		RootfsPropagation: "rslave",
		UIDMappings:       req.Namespaces.UIDs,
		GIDMappings:       req.Namespaces.GIDs,
	}
	inside := func(id uint32) uint32 {
		if req.Namespaces.Fakeroot {
			return 0
		}
		return id
	}
	if l.UIDMappings == nil {
		l.UIDMappings = []specs.LinuxIDMapping{{ContainerID: inside(host.UID), HostID: host.UID, Size: 1}}
	}
	if l.GIDMappings == nil {
		l.GIDMappings = []specs.LinuxIDMapping{{ContainerID: inside(host.GID), HostID: host.GID, Size: 1}}
	}
	for _, n := range []struct {
		on   bool
		kind specs.LinuxNamespaceType
	}{
		{true, specs.UserNamespace}, {true, specs.MountNamespace}, {req.Namespaces.PID, specs.PIDNamespace},
		{req.Namespaces.IPC, specs.IPCNamespace}, {req.Namespaces.UTS, specs.UTSNamespace},
		{req.Namespaces.Net, specs.NetworkNamespace}, {req.Namespaces.Cgroup, specs.CgroupNamespace},
	} {
		if n.on {
			l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: n.kind})
		}
	}
	return l
}

// homeTarget is the home directory inside, "" if there is none to speak of.
func homeTarget(req Request, host Host) string {
	home := req.Home.Target
	switch {
	case home != "":
	case req.Home.Source != "":
		home = req.Home.Source
	case req.Namespaces.Fakeroot:
		home = "/root"
	default:
		home = host.Home
	}
	if !path.IsAbs(home) || path.Clean(home) == "/" {
		return ""
	}
	return path.Clean(home)
}

// without reports whether a default mount is switched off, by one of its names.
func (req *Request) without(names ...string) bool {
	return slices.ContainsFunc(req.NoMount, func(n string) bool {
		return slices.Contains(names, strings.TrimSuffix(n, "/")) || n == "/" && slices.Contains(names, "/")
	})
}
