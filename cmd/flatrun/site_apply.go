package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flatrun/flatrun/mount/config/site"
	"github.com/flatrun/flatrun/runtime"
	"github.com/flatrun/flatrun/runtime/gpu"
)

// applySite brings the flags in line with what the site says.
func (c *container) applySite() error {
	s, err := c.siteDirectives()
	if s == nil || err != nil {
		return err
	}
	c.site = s
	o := c.options
	o.NV = o.NV || s.AlwaysUseNV || s.GPUAuto && gpu.HasDevice(gpu.NVIDIA(), gpu.Places{})
	o.ROCm = o.ROCm || s.AlwaysUseROCm || s.GPUAuto && gpu.HasDevice(gpu.ROCm(), gpu.Places{})
	o.CleanEnv = o.CleanEnv || s.CleanEnv
	o.NoEnv = append(o.NoEnv, s.NoEnv...)
	if o.Workdir == "" && (o.Contain || len(o.Scratch) > 0) {
		o.Workdir = s.Workdir
	}
	for _, ns := range []struct {
		flag    *bool
		allowed bool
		name    string
	}{{&o.PID, s.AllowPIDNS, "PID"}, {&o.IPC, s.AllowIPCNS, "IPC"}, {&o.UTS, s.AllowUTSNS, "UTS"}, {&o.Net, s.AllowNetNS, "network"}} {
		if *ns.flag && !ns.allowed {
			c.log.warnf("This site does not allow %s namespaces; the host's is used", ns.name)
			*ns.flag = false
		}
	}
	if !s.AllowUTSNS {
		o.Hostname = ""
	}
	if !s.UserBindControl && len(o.Bind)+len(o.Mount) > 0 {
		c.log.warnf("This site does not allow binds of users; they are left out")
		o.Bind, o.Mount = nil, nil
	}
	if !s.EnableOverlay && (len(o.Overlay) > 0 || o.WritableTmpfs) {
		return fatal("--overlay and --writable-tmpfs: this site does not allow them (enable_overlay)")
	}
	return nil
}

// placeSite adds what the site wants mounted, or not.
func (c *container) placeSite(r *runtime.Request) error {
	s := c.site
	if s == nil {
		return nil
	}
	for _, m := range []struct {
		wanted bool
		name   string
	}{
		{s.MountProc, "proc"}, {s.MountSys, "sys"}, {s.MountDev != site.DevNo, "dev"}, {s.MountDevpts, "devpts"}, {s.MountHome, "home"}, {s.MountTmp, "tmp"}, {s.MountCVMFS, "cvmfs"},
		{s.ConfigPasswd, "/etc/passwd"}, {s.ConfigGroup, "/etc/group"}, {s.ConfigResolvConf, "/etc/resolv.conf"},
	} {
		if !m.wanted {
			r.NoMount = append(r.NoMount[:len(r.NoMount):len(r.NoMount)], m.name)
		}
	}
	r.MinimalDev = s.MountDev == site.DevMinimal
	r.TmpfsSize = int64(s.WritableTmpfsSize)
	r.Private = !s.MountSlave
	if s.MemoryFSType != site.Tmpfs {
		r.MemoryFS = string(s.MemoryFSType)
	}
	if s.MountHostfs && !slices.Contains(r.NoMount, "hostfs") {
		r.Sites = append(r.Sites, hostMounts()...)
	}
	for _, b := range s.Bind {
		if b.Origin == "built in" { // the runtime has them
			continue
		}
		r.Sites = append(r.Sites, runtime.Bind{Source: b.Source, Target: b.Target, ReadOnly: b.ReadOnly, Optional: b.IfExists, Origin: b.Origin})
	}
	return nil
}

// hostMounts are the file systems that the host has mounted, but for those that containers get otherwise: each with what
// is mounted below it.
func hostMounts() (binds []runtime.Bind) {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil
	}
	given := []string{"/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/cvmfs", "/etc"}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		dir := unescapeMount.Replace(fields[1])
		below := func(top string) bool { return dir == top || strings.HasPrefix(dir, top+"/") }
		if dir == "/" || slices.ContainsFunc(given, below) {
			continue
		}
		if slices.ContainsFunc(binds, func(b runtime.Bind) bool { return below(b.Source) }) {
			continue
		}
		binds = append(binds, runtime.Bind{Source: dir, Optional: true, Weak: true, Origin: "mount_hostfs"})
	}
	return binds
}

// unescapeMount undoes what the kernel does to blanks in its lists of mounts.
var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// checkSite refuses images from where the site does not want them.
func (c *container) checkSite() error {
	s := c.site
	if s == nil {
		return nil
	}
	if !s.AllowContainerDir && c.image.FQRN == "" {
		return fatal("image %s: this site allows images of repositories only (allow_container_dir)", c.arg)
	}
	for _, dir := range []string{c.image.Root, c.image.Shown} {
		if real, err := filepath.EvalSymlinks(dir); err == nil && s.Permits(real) {
			return nil
		}
	}
	if len(s.LimitContainerPaths) == 0 || c.image.FQRN != "" && s.Permits(filepath.Join("/cvmfs", c.image.FQRN)) { // wherever it is mounted
		return nil
	}
	return fatal("image %s: this site allows images only below %s (limit_container_paths)", c.arg, strings.Join(s.LimitContainerPaths, ", "))
}
