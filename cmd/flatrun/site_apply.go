package main

import (
	"path/filepath"
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
	for _, b := range s.Bind {
		if b.Origin == "built in" { // the runtime has them
			continue
		}
		r.Sites = append(r.Sites, runtime.Bind{Source: b.Source, Target: b.Target, ReadOnly: b.ReadOnly, Optional: b.IfExists, Origin: b.Origin})
	}
	return nil
}

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
