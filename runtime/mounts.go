package runtime

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// mounts lists all mounts in the order in which they are made; a later one may hide or refine an earlier one.
func mounts(req Request, host Host) []specs.Mount {
	return slices.Concat(
		overlay(req),
		devices(req, host),
		kernel(req),
		sites(req),
		temporary(req), // before home, which may lie in it
		home(req, host),
		scratch(req),
		cvmfs(req, "/cvmfs"),
		accounts(req, host),
		binds(req, req.Binds),
		fuseMounts(req, host),
		cwd(req, host),
	)
}

// bind is a mount of a host path with everything below it, which follows later mounts on the host.
func bind(source, target string, options ...string) specs.Mount {
	return specs.Mount{Destination: target, Type: "bind", Source: source, Options: append([]string{"rbind", "rslave"}, options...)}
}

// memory is an empty directory in memory.
func memory(target, mode string, options ...string) specs.Mount {
	return specs.Mount{Destination: target, Type: "tmpfs", Source: "tmpfs", Options: append([]string{"nosuid", "nodev", "mode=" + mode}, options...)}
}

// overlay says what is laid over the image.
func overlay(req Request) []specs.Mount {
	m := specs.Mount{Destination: "/", Type: typeOverlay, Source: "overlay"}
	for _, o := range req.Overlays {
		if o.Layer {
			m.Options = append(m.Options, optLayer+"="+o.Path)
		}
	}
	for _, o := range req.Overlays {
		if o.ReadOnly && !o.Layer {
			m.Options = append(m.Options, optLower+"="+o.Path)
		}
	}
	for _, o := range req.Overlays {
		if !o.ReadOnly && !o.Layer {
			m.Options = append(m.Options, optUpper+"="+o.Path)
		}
	}
	if req.WritableTmpfs {
		m.Options = append(m.Options, optMemory)
		if req.TmpfsSize > 0 {
			m.Options = append(m.Options, "size="+strconv.FormatInt(req.TmpfsSize, 10))
		}
	}
	if m.Options == nil {
		return nil
	}
	return []specs.Mount{m}
}

// kernel has /proc and /sys. The host's are shown unless there is a namespace which they would tell lies about. A new
// instance may be refused where the host's is partly hidden, as inside another container.
func kernel(req Request) (m []specs.Mount) {
	restricted := []string{"nosuid", "nodev", "noexec"}
	switch {
	case req.without("proc", "/proc"):
	case req.Namespaces.PID:
		m = append(m, specs.Mount{Destination: "/proc", Type: "proc", Source: "proc", Options: append(restricted, optFallback+"=/proc")})
	default:
		m = append(m, bind("/proc", "/proc"))
	}
	switch {
	case req.without("sys", "/sys"):
	case req.Namespaces.Net:
		m = append(m, specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: append(restricted, optFallback+"=/sys")})
	default:
		m = append(m, bind("/sys", "/sys"))
	}
	return m
}

// devices has /dev: the host's, or the few devices that every program may expect.
func devices(req Request, host Host) []specs.Mount {
	if req.without("dev", "/dev") {
		return nil
	}
	if !req.Contain && !req.MinimalDev {
		return []specs.Mount{bind("/dev", "/dev")}
	}
	m := []specs.Mount{memory("/dev", "755")}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		m = append(m, bind("/dev/"+name, "/dev/"+name, optOptional))
	}
	if host.TTY != "" {
		// The terminal of the caller is not in a new instance of devpts; ttyname(3) finds it here.
		m = append(m, bind(host.TTY, "/dev/console", optOptional, optWeak))
	}
	for _, l := range [][2]string{{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"}} {
		m = append(m, specs.Mount{Destination: "/dev/" + l[0], Type: typeLink, Source: l[1]})
	}
	if !req.without("devpts", "/dev/pts") {
		m = append(m, specs.Mount{Destination: "/dev/pts", Type: "devpts", Source: "devpts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", optFallback + "=/dev/pts", optWeak}})
	}
	if req.Contain {
		m = append(m, memory("/dev/shm", "1777"))
	} else {
		m = append(m, bind("/dev/shm", "/dev/shm", optOptional))
	}
	if req.Namespaces.IPC {
		m = append(m, specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue",
			Options: []string{"nosuid", "nodev", "noexec", optFallback + "=/dev/mqueue", optWeak}})
	} else {
		m = append(m, bind("/dev/mqueue", "/dev/mqueue", optOptional, optWeak))
	}
	return m
}

// sites has what every container gets of the host's configuration, and the site's own binds. The files go over the
// image's even where those are links: behind /etc/localtime there is a zone of which the image's programs know the name.
func sites(req Request) (m []specs.Mount) {
	if !req.without("bind-paths") {
		for _, file := range []string{"/etc/hosts", "/etc/localtime"} {
			if !req.without(file) {
				m = append(m, bind(file, file, "nosuid", "nodev", optOptional, optWeak, optNoFollow))
			}
		}
		m = append(m, binds(req, slices.DeleteFunc(slices.Clone(req.Sites), func(b Bind) bool {
			return req.without(b.Source) || b.Target != "" && req.without(b.Target)
		}))...)
	}
	if !req.without("resolv.conf", "/etc/resolv.conf") && !hasFile(req, "/etc/resolv.conf") {
		m = append(m, bind("/etc/resolv.conf", "/etc/resolv.conf", "nosuid", "nodev", optOptional, optWeak, optNoFollow))
	}
	for _, f := range req.Files {
		m = append(m, specs.Mount{Destination: f.Target, Type: typeFile, Source: "flatrun", Options: []string{optWeak, optNoFollow, optContent + "=" + f.Content}})
	}
	return m
}

func hasFile(req Request, target string) bool {
	return slices.ContainsFunc(req.Files, func(f File) bool { return path.Clean(f.Target) == target })
}

// home has the home directory.
func home(req Request, host Host) []specs.Mount {
	target := homeTarget(req, host)
	if target == "" || req.Home.None || req.without("home") {
		return nil
	}
	switch {
	case req.Home.Source != "":
		return []specs.Mount{bind(req.Home.Source, target, "nosuid", "nodev", optOrigin+"=--home")}
	case req.Contain && req.Workdir != "":
		return []specs.Mount{bind(path.Join(req.Workdir, "home"), target, "nosuid", "nodev", optMake+"=700", optOrigin+"=--workdir")}
	case req.Contain:
		return []specs.Mount{memory(target, "700")}
	case req.Home.Empty:
		return []specs.Mount{memory(target, "755")}
	}
	// A batch account may have a home directory that exists on no node.
	return []specs.Mount{bind(host.Home, target, "nosuid", "nodev", optOptional, optOrigin+"=home directory")}
}

// temporary has /tmp and /var/tmp, which are one directory in some images.
func temporary(req Request) (m []specs.Mount) {
	if req.without("tmp") {
		return nil
	}
	for _, dir := range []string{"/tmp", "/var/tmp"} {
		switch {
		case req.without(dir):
		case req.Contain && req.Workdir != "":
			source := path.Join(req.Workdir, strings.ReplaceAll(dir[1:], "/", "_"))
			m = append(m, bind(source, dir, "nosuid", "nodev", optMake+"=1777", optUnique, optOrigin+"=--workdir"))
		case req.Contain:
			m = append(m, memory(dir, "1777", optUnique))
		default:
			m = append(m, bind(dir, dir, "nosuid", "nodev", optOptional, optUnique, optWeak))
		}
	}
	return m
}

// scratch has empty writable directories.
func scratch(req Request) (m []specs.Mount) {
	for _, dir := range req.Scratch {
		if req.Workdir != "" {
			m = append(m, bind(path.Join(req.Workdir, "scratch", dir), dir, "nosuid", "nodev", optMake+"=755", optOrigin+"=--scratch"))
		} else {
			m = append(m, memory(dir, "755", optOrigin+"=--scratch"))
		}
	}
	return m
}

// cvmfs merges the host's and the session's repositories. The first directory leads: what is mounted in it later
// appears inside. Over that go the repositories of which the container keeps a revision.
func cvmfs(req Request, target string) (m []specs.Mount) {
	if req.without("cvmfs", "/cvmfs") {
		return nil
	}
	for i, dir := range req.CVMFS {
		if i == 0 {
			m = append(m, bind(dir, target, "nosuid", "nodev", optOrigin+"=repositories"))
			for _, r := range req.Repositories {
				m = append(m, bind(r.Dir, path.Join(target, r.Name), "nosuid", "nodev", optOptional, optOrigin+"=repositories"))
			}
			continue
		}
		m = append(m, specs.Mount{Destination: target, Type: typeMerge, Source: dir, Options: []string{"nosuid", "nodev", optOptional, optWeak}})
	}
	return m
}

// accounts has the image's password and group files with the caller's lines. Images without them get none.
func accounts(req Request, host Host) (m []specs.Mount) {
	uid, gid, name := host.UID, host.GID, host.User.Name
	if req.Namespaces.Fakeroot {
		uid, gid, name = 0, 0, "root"
	}
	dir, shell := homeTarget(req, host), host.User.Shell
	if dir == "" {
		dir = "/"
	}
	if shell == "" || req.Namespaces.Fakeroot {
		shell = "/bin/sh" // the caller's is not root's, and the image may lack it
	}
	if name != "" && !req.without("passwd", "/etc/passwd") {
		line := fmt.Sprintf("%s:x:%d:%d:%s:%s:%s", name, uid, gid, host.User.Gecos, dir, shell)
		m = append(m, specs.Mount{Destination: "/etc/passwd", Type: typePasswd, Source: "flatrun", Options: []string{"nosuid", "nodev", optExists, optWeak, optLine + "=" + line}})
	}
	group := host.Group
	if req.Namespaces.Fakeroot {
		group = "root"
	}
	if group != "" && name != "" && !req.without("group", "/etc/group") {
		line := fmt.Sprintf("%s:x:%d:%s", group, gid, name)
		m = append(m, specs.Mount{Destination: "/etc/group", Type: typeGroup, Source: "flatrun", Options: []string{"nosuid", "nodev", optExists, optWeak, optLine + "=" + line}})
	}
	return m
}

// binds translates binds. Sources in /cvmfs are looked for where the repositories really are mounted.
func binds(req Request, list []Bind) (m []specs.Mount) {
	for _, b := range list {
		source, target := path.Clean(b.Source), path.Clean(b.Target)
		if b.Target == "" {
			target = source
		}
		if source == "/cvmfs" && len(req.CVMFS) > 0 {
			if target != "/cvmfs" || req.without("cvmfs", "/cvmfs") {
				m = append(m, cvmfs(Request{CVMFS: req.CVMFS, Repositories: req.Repositories}, target)...)
			}
			continue
		}
		options := []string{"nosuid"}
		if !strings.HasPrefix(source, "/dev/") && source != "/dev" {
			options = append(options, "nodev")
		}
		for _, o := range []struct {
			on     bool
			option string
		}{{b.ReadOnly, "ro"}, {b.Optional, optOptional}, {b.Weak, optWeak}, {b.Origin != "", optOrigin + "=" + b.Origin}} {
			if o.on {
				options = append(options, o.option)
			}
		}
		if rest, ok := strings.CutPrefix(source, "/cvmfs/"); ok {
			for _, other := range repositorySources(req, rest) {
				options = append(options, optOr+"="+other)
			}
		}
		one := bind(source, target, options...)
		if b.NoRecurse {
			one.Options[0] = "bind"
		}
		m = append(m, one)
	}
	return m
}

// repositorySources are where a path below /cvmfs may be found. Of a repository of which the container keeps a revision it
// gets nothing else.
func repositorySources(req Request, rest string) (all []string) {
	name, below, _ := strings.Cut(rest, "/")
	for _, r := range req.Repositories {
		if r.Name == name {
			return []string{path.Join(r.Dir, below)}
		}
	}
	for _, dir := range req.CVMFS {
		all = append(all, path.Join(dir, rest))
	}
	return all
}

// systemDirs are working directories that are not worth hiding the image's behind them.
var systemDirs = []string{"/", "/bin", "/etc", "/lib", "/lib64", "/mnt", "/opt", "/sbin", "/usr", "/var"}

// cwd has the caller's working directory, unless it is there already.
func cwd(req Request, host Host) []specs.Mount {
	if req.Contain || req.without("cwd") || !path.IsAbs(host.Cwd) || slices.Contains(systemDirs, path.Clean(host.Cwd)) {
		return nil
	}
	return []specs.Mount{bind(host.Cwd, host.Cwd, "nosuid", "nodev", optCwd, optWeak)}
}
