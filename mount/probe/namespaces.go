package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func (h host) kernel() Result {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Result{Name: "kernel", State: Info, Reason: err.Error()}
	}
	release := unix.ByteSliceToString(u.Release[:])
	r := Result{Name: "kernel", State: OK, Detail: release + " " + unix.ByteSliceToString(u.Machine[:])}
	// mount_setattr came with 5.12, overlayfs for ordinary users with 5.11. What
	// matters is probed below; distributions carry things back.
	if major, minor, ok := version(release); ok && (major < 5 || major == 5 && minor < 12) {
		r.State, r.Advice = Warning, "Linux 5.12 or newer is recommended (RHEL 9, Debian 12, Ubuntu 22.04)"
	}
	return r
}

func version(release string) (major, minor int, ok bool) {
	parts := strings.SplitN(release, ".", 3)
	if len(parts) < 2 {
		return 0, 0, false
	}
	digits := len(parts[1]) - len(strings.TrimLeft(parts[1], "0123456789"))
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1][:digits])
	return major, minor, err1 == nil && err2 == nil
}

// nested tells whether this is a container already, which limits what can be
// done and explains much of what fails below.
func (h host) nested() Result {
	r := Result{Name: "container", State: Info, Detail: "not inside one"}
	var signs []string
	for _, mark := range []struct{ file, name string }{{"/.dockerenv", "docker"}, {"/run/.containerenv", "podman"}, {"/.singularity.d", "apptainer"}} {
		if h.exists(mark.file) {
			signs = append(signs, mark.name)
		}
	}
	for _, name := range []string{"APPTAINER_CONTAINER", "SINGULARITY_CONTAINER", "KUBERNETES_SERVICE_HOST"} {
		if h.env(name) != "" {
			signs = append(signs, "$"+name)
		}
	}
	if fields := strings.Fields(h.read("/proc/self/uid_map")); len(fields) >= 3 && (fields[2] != "4294967295") {
		signs = append(signs, "a user namespace")
	}
	if len(signs) > 0 {
		r.Detail = "inside one: " + strings.Join(signs, ", ")
	}
	return r
}

func (h host) userNamespace() Result {
	r := Result{Name: "user namespace", Required: true, State: OK, Detail: "made one"}
	err := UserNamespace()
	if err == nil {
		return r
	}
	r.State, r.Detail, r.Reason, r.Advice = Failed, "", err.Error(), h.userNamespaceAdvice(err)
	return r
}

// userNamespaceAdvice names the switch that is off, or what else may be the
// cause of the kernel's refusal.
func (h host) userNamespaceAdvice(err error) string {
	switch {
	case h.read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
		return "sysctl -w kernel.unprivileged_userns_clone=1, and the same in /etc/sysctl.d for the next boot"
	case h.read("/proc/sys/user/max_user_namespaces") == "0":
		return "sysctl -w user.max_user_namespaces=15000, and the same in /etc/sysctl.d for the next boot"
	case h.read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
		return "install an AppArmor profile that allows flatrun \"userns,\" (as Ubuntu 24.04 asks for), or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
	case errors.Is(err, syscall.ENOSPC):
		return "all user namespaces are in use: raise user.max_user_namespaces"
	case errors.Is(err, syscall.EUSERS):
		return "user namespaces are nested too deeply (the kernel allows 32)"
	case errors.Is(err, syscall.EINVAL):
		return "the kernel is built without CONFIG_USER_NS"
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return "a container's seccomp filter, a chroot or a security module forbids it: allow unshare and clone with CLONE_NEWUSER there"
	}
	return "user_namespaces(7) lists what a kernel may lack or forbid"
}

// limits are the kernel's counts for namespaces and mounts.
func (h host) limits() Result {
	r := Result{Name: "limits", State: Info}
	var found []string
	for _, name := range []string{"max_user_namespaces", "max_mnt_namespaces", "max_pid_namespaces"} {
		value := h.read("/proc/sys/user/" + name)
		if value == "" {
			continue
		}
		found = append(found, name+" "+value)
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && n < 100 {
			r.State = Warning
			r.Advice = "sysctl -w user." + name + "=15000: each container needs one"
		}
	}
	if value := h.read("/proc/sys/fs/mount-max"); value != "" {
		found = append(found, "mount-max "+value)
	}
	r.Detail = strings.Join(found, ", ")
	return r
}

// restrictions are switches that distributions have added.
func (h host) restrictions() Result {
	r := Result{Name: "restrictions", State: Info}
	var found []string
	if h.read("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
		found = append(found, "kernel.unprivileged_userns_clone=0")
	}
	if h.read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
		found = append(found, "kernel.apparmor_restrict_unprivileged_userns=1")
	}
	if label := h.read("/proc/self/attr/current"); label != "" && label != "unconfined" && h.exists("/sys/kernel/security/apparmor") {
		found = append(found, "AppArmor profile "+label)
	}
	if h.read("/sys/fs/selinux/enforce") == "1" {
		found = append(found, "SELinux enforcing")
	}
	status := h.read("/proc/self/status")
	if statusField(status, "NoNewPrivs") == "1" {
		found = append(found, "no_new_privs (fusermount3 and newuidmap cannot gain rights)")
	}
	if statusField(status, "Seccomp") == "2" {
		found = append(found, "a seccomp filter")
	}
	if r.Detail = strings.Join(found, ", "); len(found) == 0 {
		r.Detail = "none"
	} else if UserNamespace() != nil {
		r.State = Warning
	}
	return r
}

func statusField(status, name string) string {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (h host) mounts() Result {
	r := Result{Name: "mount calls", Required: true, State: OK, Detail: "open_tree, mount_setattr, move_mount"}
	if err := Mounts(); err != nil {
		r.State, r.Detail, r.Reason = Failed, "", err.Error()
		r.Advice = dependsOnUserNamespace("a kernel of 5.12 or newer, and a seccomp filter that allows these calls")
		if errors.Is(err, syscall.EINVAL) {
			r.Advice = dependsOnUserNamespace("inside a chroot or on a root file system that is not a mount point, these calls are refused")
		}
	}
	return r
}

// dependsOnUserNamespace is the advice for something that cannot be well before
// user namespaces are.
func dependsOnUserNamespace(advice string) string {
	if UserNamespace() != nil {
		return "see user namespace"
	}
	return advice
}

func (h host) pidNamespace() Result {
	r := Result{Name: "process namespace", State: OK, Detail: "mounted a new /proc (for --pid)"}
	if err := PIDNamespace(); err != nil {
		r.State, r.Detail, r.Reason = Warning, "", err.Error()
		r.Advice = dependsOnUserNamespace("--pid does not work where parts of /proc are hidden, as in most containers; start the outer one with --security-opt unmask=ALL")
	}
	return r
}

func (h host) overlay() Result {
	r := Result{Name: "overlayfs", State: OK, Detail: "mounted in a user namespace and written to"}
	if err := Overlay(); err != nil {
		r.State, r.Detail, r.Reason = Warning, "", err.Error()
		r.Advice = dependsOnUserNamespace("--writable-tmpfs and --overlay need Linux 5.11 or newer with CONFIG_OVERLAY_FS (modprobe overlay)")
	}
	return r
}

// subordinate looks for ids to map, and really maps them.
func (h host) subordinate() Result {
	r := Result{Name: "subordinate ids", State: Warning,
		Advice: "for --fakeroot with more than one id: apt install uidmap (or shadow-utils), then usermod --add-subuids 100000-165535 --add-subgids 100000-165535 " + h.name}
	for _, id := range []struct {
		file, program string
		own           int
	}{{"/etc/subuid", "newuidmap", h.uid}, {"/etc/subgid", "newgidmap", h.gid}} {
		first, count, ok := subordinateRange(h.read(id.file), h.name, h.uid)
		if !ok {
			r.Reason = fmt.Sprintf("no entry for %s in %s", h.name, id.file)
			return r
		}
		program, err := exec.LookPath(id.program)
		if err != nil {
			r.Reason = id.program + ": " + reason(err)
			return r
		}
		if err := mapSubordinate(program, id.own, first, count); err != nil {
			r.Reason = id.program + ": " + err.Error()
			return r
		}
		r.Detail = strings.TrimPrefix(fmt.Sprintf("%s, %s %d:%d", r.Detail, id.file, first, count), ", ")
	}
	return Result{Name: r.Name, State: OK, Detail: r.Detail}
}

// subordinateRange finds the first range of a user in the text of /etc/subuid.
func subordinateRange(text, name string, uid int) (first, count uint64, ok bool) {
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 || f[0] != name && f[0] != strconv.Itoa(uid) {
			continue
		}
		first, err1 := strconv.ParseUint(f[1], 10, 32)
		count, err2 := strconv.ParseUint(f[2], 10, 32)
		if err1 == nil && err2 == nil && count > 0 {
			return first, count, true
		}
	}
	return 0, 0, false
}

// reason is an error without the wrapping of package os and exec.
func reason(err error) string {
	var path *fs.PathError
	var run *exec.Error
	switch {
	case errors.As(err, &path):
		return path.Err.Error()
	case errors.As(err, &run):
		return run.Err.Error()
	case errors.Is(err, os.ErrNotExist):
		return "no such file or directory"
	}
	return err.Error()
}
