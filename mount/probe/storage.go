package probe

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// fuseDevice looks at /dev/fuse as this user sees it.
func (h host) fuseDevice() Result {
	r := Result{Name: "/dev/fuse", State: OK}
	info, err := os.Stat("/dev/fuse")
	if err != nil {
		r.State, r.Reason = Failed, reason(err)
		r.Advice = "modprobe fuse; inside a container, start that with --device /dev/fuse"
		return r
	}
	r.Detail = info.Mode().String()
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		r.State, r.Reason = Failed, "open: "+reason(err)
		r.Advice = "chmod 666 /dev/fuse, as udev does on most distributions"
		return r
	}
	f.Close()
	return r
}

// fuse decides whether repositories can be mounted; where the site has mounted
// them already, that is not needed.
func (h host) fuse(native bool) Result {
	r := Result{Name: "FUSE", State: OK, Required: !native, Detail: "mounted in a user namespace"}
	if err := FUSE(); err != nil {
		r.State, r.Detail, r.Reason = Failed, "", err.Error()
		r.Advice = dependsOnUserNamespace("images in repositories need /dev/fuse, readable and writable, and Linux 4.18 or newer with CONFIG_FUSE_FS; plain directories can be run without")
		if native {
			r.State = Warning
		}
	}
	return r
}

// fusermount is what flatrun mount needs to show a repository on the host.
func (h host) fusermount() Result {
	r := Result{Name: "fusermount3", State: Warning, Advice: "flatrun mount needs it: apt install fuse3 (or dnf install fuse3)"}
	program, err := exec.LookPath("fusermount3")
	if err != nil {
		program, err = exec.LookPath("fusermount")
	}
	if err != nil {
		r.Reason = reason(err)
		return r
	}
	r.Detail = program
	info, err := os.Stat(program)
	if err != nil {
		r.Reason = reason(err)
		return r
	}
	if info.Mode()&os.ModeSetuid == 0 && h.uid != 0 {
		r.Reason, r.Advice = "not set-user-id root", "chmod u+s "+program
		return r
	}
	if statusField(h.read("/proc/self/status"), "NoNewPrivs") == "1" {
		r.Reason, r.Advice = "no_new_privs is set, so it cannot gain rights", "run flatrun mount outside of this job or container"
		return r
	}
	r.State, r.Advice = OK, ""
	return r
}

// cgroup tells which limits (--memory, --cpus) can be set by this user.
func (h host) cgroup() Result {
	r := Result{Name: "control groups", State: Info}
	var own string
	for line := range strings.Lines(h.read("/proc/self/cgroup")) {
		if group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			own = group
		}
	}
	switch {
	case h.exists("/sys/fs/cgroup/cgroup.controllers"):
		r.Detail = "version 2"
	case h.exists("/sys/fs/cgroup/unified"):
		r.Detail, r.Advice = "version 1 with an empty version 2 (hybrid)", "limits on memory and cpu need version 2: boot with systemd.unified_cgroup_hierarchy=1"
		return r
	case h.exists("/sys/fs/cgroup"):
		r.Detail, r.Advice = "version 1", "limits on memory and cpu need version 2: boot with systemd.unified_cgroup_hierarchy=1"
		return r
	default:
		r.Detail = "none mounted"
		return r
	}
	dir := filepath.Join("/sys/fs/cgroup", own)
	if err := unix.Access(h.path(dir+"/cgroup.procs"), unix.W_OK); err != nil {
		r.Detail += ", " + dir + " not delegated to this user"
		r.Reason = err.Error()
		r.Advice = "limits on memory and cpu need delegation: set Delegate=yes in the job's or user's systemd unit"
		return r
	}
	r.State = OK
	r.Detail += ", delegated with " + strings.Join(append(strings.Fields(h.read(dir+"/cgroup.controllers")), "processes"), ", ")
	return r
}

func (h host) seccomp() Result {
	r := Result{Name: "seccomp", State: OK, Detail: "filters are available"}
	action := uint32(unix.SECCOMP_RET_ERRNO)
	if err := seccompAvailable(&action); err != nil {
		r.State, r.Detail, r.Reason = Warning, "", err.Error()
		r.Advice = "containers run without the default system call filter: build the kernel with CONFIG_SECCOMP_FILTER"
	}
	return r
}

// cvmfs looks for what the site has mounted at /cvmfs, by the table of mounts
// rather than by touching it: a dead mount would hang.
func (h host) cvmfs() Result {
	r := Result{Name: "/cvmfs", State: Info}
	var live []string
	automounted := false
	for line := range strings.Lines(h.read("/proc/self/mountinfo")) {
		f := strings.Fields(line)
		dash := strings.Index(line, " - ")
		if len(f) < 5 || dash < 0 {
			continue
		}
		kind := strings.Fields(line[dash+3:])
		name, ok := strings.CutPrefix(f[4], "/cvmfs/")
		if f[4] == "/cvmfs" && len(kind) > 0 && kind[0] == "autofs" {
			automounted = true
		}
		if ok && len(kind) > 0 && strings.HasPrefix(kind[0], "fuse") {
			live = append(live, name)
		}
	}
	switch {
	case len(live) > 0:
		r.State, r.Detail = OK, "mounted by the site: "+strings.Join(live, ", ")
	case automounted:
		r.State, r.Detail = OK, "mounted by the site on demand (autofs)"
	default:
		r.Detail = "not mounted by the site; flatrun mounts repositories by itself"
	}
	return r
}
