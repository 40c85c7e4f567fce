package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/runtime"
	"github.com/flatrun/flatrun/runtime/singularity"
)

// request translates the flags into what the runtime is asked for.
func (c *container) request() (*runtime.Request, error) {
	o := c.options
	r := &runtime.Request{
		Image:   runtime.Image{Path: c.image.Root, Name: c.arg},
		Scratch: o.Scratch, Cwd: o.initialDir(), Contain: o.Contain, NoMount: o.NoMount, CVMFS: c.cvmfs(), Repositories: c.kept,
		Writable: o.Writable, WritableTmpfs: o.WritableTmpfs && !o.Writable,
		Namespaces: runtime.Namespaces{PID: o.PID, IPC: o.IPC, UTS: o.UTS, Net: o.Net, Fakeroot: o.Fakeroot},
		NoInit:     o.NoInit, Hostname: o.Hostname,
		Privileges: runtime.Privileges{Keep: o.KeepPrivs, AllowSetuid: o.AllowSetuid},
	}
	if o.Writable && o.WritableTmpfs {
		c.log.warnf("Disabling --writable-tmpfs flag, mutually exclusive with --writable")
	}
	for _, b := range c.distinctBinds() {
		r.Binds = append(r.Binds, b.Bind)
	}
	// What lies inside another bind must not be hidden by it.
	slices.SortStableFunc(r.Binds, func(a, b runtime.Bind) int { return depth(a.Target) - depth(b.Target) })
	if o.NoUmask {
		mask := uint32(0o022)
		r.Umask = &mask
	}
	for _, step := range []func(*runtime.Request) error{c.placeSite, c.placeHome, c.placeWorkdir, c.placeOverlays, c.placeFUSE, c.placeSecurity, c.placeNames, c.addDrivers, c.addHabana, c.addLibraries, c.addDevices} {
		if err := step(r); err != nil {
			return nil, err
		}
	}
	c.noteUnknownMounts()
	if r.Cwd == "" && o.Contain {
		r.Cwd = c.homeInside(r)
	}
	return r, nil
}

// cvmfs are the directories shown at /cvmfs: the session's repositories before
// the host's.
func (c *container) cvmfs() []string {
	var dirs []string
	if c.state.Session != nil {
		dirs = append(dirs, filepath.Join(c.state.Session.Dir, "cvmfs"))
	}
	if _, err := os.Lstat("/cvmfs"); err == nil {
		dirs = append(dirs, "/cvmfs")
	}
	return dirs
}

// placeHome reads --home and --no-home.
func (c *container) placeHome(r *runtime.Request) error {
	o := c.options
	r.Home.None = o.NoHome
	if !o.HomeGiven {
		return nil
	}
	source, target, both := strings.Cut(o.Home, ":")
	if strings.Contains(target, ":") {
		return fatal("home argument has incorrect number of elements: %d", strings.Count(o.Home, ":")+1)
	}
	abs, err := filepath.Abs(source)
	if err != nil || source == "" {
		return fatal("home directory %q: give an existing directory, or src:dest", o.Home)
	}
	if !both || target == "" {
		target = abs
	}
	if !filepath.IsAbs(target) {
		return fatal("home directory %s must be an absolute path in the container", target)
	}
	r.Home.Source, r.Home.Target = abs, target
	info, err := os.Stat(abs)
	if err == nil && !info.IsDir() {
		return fatal("home directory %s is not a directory", abs)
	}
	if errors.Is(err, fs.ErrNotExist) {
		c.log.warnf("Home directory %s does not exist: %s is empty in the container", abs, target)
		r.Home.Source, r.Home.Empty = "", true
	}
	return nil
}

// placeWorkdir reads --workdir and --scratch.
func (c *container) placeWorkdir(r *runtime.Request) error {
	for i, dir := range r.Scratch {
		if !filepath.IsAbs(dir) {
			r.Scratch[i] = "/" + dir
		}
	}
	if c.options.Workdir == "" {
		return nil
	}
	dir, err := filepath.Abs(c.options.Workdir)
	if err != nil {
		return fatal("workdir %s: %w", c.options.Workdir, err)
	}
	// Scratch directories are made with all that leads to them.
	if info, err := os.Stat(dir); err != nil && c.options.Contain || err == nil && !info.IsDir() {
		return fatal("workdir %s is not an existing directory: make it, or leave out --workdir", c.options.Workdir)
	}
	r.Workdir = dir
	return nil
}

// placeOverlays reads --overlay DIR[:ro].
func (c *container) placeOverlays(r *runtime.Request) error {
	for _, dir := range c.image.Layers {
		r.Overlays = append(r.Overlays, runtime.Overlay{Path: dir, ReadOnly: true, Layer: true})
	}
	for _, text := range c.options.Overlay {
		dir, readOnly := strings.CutSuffix(text, ":ro")
		if !readOnly {
			dir = strings.TrimSuffix(dir, ":rw")
		}
		abs, err := filepath.Abs(dir)
		if err != nil {
			return fatal("overlay %s: %w", text, err)
		}
		info, err := os.Stat(abs)
		switch {
		case err != nil:
			return fatal("while opening overlay %s: %w: make the directory first", dir, err.(*os.PathError).Err)
		case !info.IsDir():
			return fatal("overlay %s is a file: overlay images are not supported, use a directory", dir)
		}
		r.Overlays = append(r.Overlays, runtime.Overlay{Path: abs, ReadOnly: readOnly})
	}
	return nil
}

// placeSecurity reads --security.
func (c *container) placeSecurity(r *runtime.Request) error {
	for _, text := range c.options.Security {
		name, value, _ := strings.Cut(text, ":")
		switch name {
		case "seccomp":
			profile, err := c.options.readSeccomp(value)
			if err != nil {
				return err
			}
			r.Seccomp.Profile = profile
		case "uid", "gid":
			return fatal("%s security feature requires root privileges: use --fakeroot to appear as root", name)
		case "apparmor", "selinux":
			return fatal("--security %s: labels are not set for containers: leave it out, the caller's own confinement stays in force", name)
		default:
			return fatal("--security %s: not known: use seccomp:FILE", text)
		}
	}
	return nil
}

// placeNames reads --hostname and --dns.
func (c *container) placeNames(r *runtime.Request) error {
	if name := c.options.Hostname; name != "" {
		r.Files = append(r.Files, runtime.File{Target: "/etc/hostname", Content: name + "\n"})
	}
	if c.options.DNS == "" {
		return nil
	}
	var text strings.Builder
	for server := range strings.SplitSeq(c.options.DNS, ",") {
		if server = strings.TrimSpace(server); server == "" {
			continue
		}
		if _, err := netip.ParseAddr(server); err != nil {
			return fatal("dns ip %s is not a valid IP address", server)
		}
		fmt.Fprintf(&text, "nameserver %s\n", server)
	}
	r.Files = append(r.Files, runtime.File{Target: "/etc/resolv.conf", Content: text.String()})
	return nil
}

// initialDir is the directory of --pwd. A relative one is meant from the root.
func (o *options) initialDir() string {
	if o.Dir == "" {
		return ""
	}
	return filepath.Join("/", o.Dir)
}

// checkDirectory refuses an initial directory that the container will not have.
// Only what is certain counts: binds and default mounts bring directories too.
func (c *container) checkDirectory(r *runtime.Request, root *singularity.Root) error {
	dir := c.options.initialDir()
	if dir == "" || root.MayBeDir(dir) {
		return nil
	}
	for _, b := range r.Binds {
		if strings.HasPrefix(b.Target, dir+"/") {
			return nil
		}
	}
	return fatal("failed to set working directory: %s: no such directory in the container", c.options.Dir)
}

// noteUnknownMounts warns about names that --no-mount does not know.
func (c *container) noteUnknownMounts() {
	known := []string{"proc", "sys", "dev", "devpts", "home", "tmp", "hostfs", "cwd", "bind-paths", "cvmfs"}
	for _, name := range c.options.NoMount {
		if !filepath.IsAbs(name) && !slices.Contains(known, name) {
			c.log.warnf("Ignoring unknown mount type '%s'", name)
		}
	}
}

// checkNetwork understands --net, --network and --netns-path. Networks other than none and host are set up by root of the
// host; one inside gets none, as with Apptainer where that is not installed with setuid.
func (c *container) checkNetwork() error {
	o := c.options
	switch o.Network {
	case "", "none":
		if o.Network == "none" && !o.Net {
			c.log.infof("Setting --net (required by --network)")
			o.Net = true
		}
	case "host":
		o.Net = false
	default:
		if !o.Fakeroot {
			return fatal("network %q needs root to set up: users can only use --network none or --network host", o.Network)
		}
		if !o.Net {
			c.log.infof("Setting --net (required by --network)")
		}
		c.log.warnf("network '%s' needs root on the host, fallback to 'none' network", o.Network)
		o.Net, o.Network = true, "none"
	}
	return c.checkNetns()
}

// checkNetns reads --netns-path. Whether the caller may join is the kernel's to say.
func (c *container) checkNetns() error {
	o := c.options
	if o.NetnsPath == "" {
		return nil
	}
	if o.Net {
		c.log.warnf("cannot join existing --netns-path and create a new network namespace with --net/-n")
		o.Net = false
	}
	if plan := enter.Current().Plan; plan != nil { // joined by now, and perhaps out of sight
		o.NetnsPath = plan.Netns
		return nil
	}
	abs, err := filepath.Abs(o.NetnsPath)
	if err == nil {
		_, err = os.Stat(abs)
	}
	if err != nil || strings.Contains(abs, ";") { // which separates words between us and the program that is started anew
		return fatal("while checking netns path: %s: %w", o.NetnsPath, cmp.Or(reason(err), os.ErrInvalid))
	}
	o.NetnsPath = abs
	return nil
}

// timeout is how long environment scripts may take.
func (o *options) timeout() (time.Duration, error) {
	if o.ScriptTimeout == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(o.ScriptTimeout)
	if err != nil || d <= 0 {
		return 0, fatal("--runscript-timeout %q: give a time such as 30s or 2m", o.ScriptTimeout)
	}
	return d, nil
}

// readEnvFiles reads the files of --env-file.
func (o *options) readEnvFiles() ([]singularity.EnvFile, error) {
	var files []singularity.EnvFile
	for _, name := range o.EnvFile {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fatal("could not read %q environment file: %w", name, err.(*os.PathError).Err)
		}
		files = append(files, singularity.EnvFile{Name: name, Text: text})
	}
	return files, nil
}
