package probe

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// UserNamespace makes a user and a mount namespace with the caller's ids mapped
// to themselves. The error is the step that the kernel refused.
func UserNamespace() error { return userNamespace() }

// Mounts clones a mount tree, makes it read-only and moves it, with the calls
// that containers are assembled with: open_tree, mount_setattr, move_mount.
func Mounts() error { return mounts() }

// FUSE mounts a FUSE file system in a user namespace.
func FUSE() error { return fuse() }

// Overlay mounts overlayfs over tmpfs in a user namespace, and writes to it.
func Overlay() error { return overlay() }

// PIDNamespace mounts a new /proc in a process namespace of a user namespace.
func PIDNamespace() error { return pidNamespace() }

var (
	userNamespace = sync.OnceValue(func() error { return inUserNamespace().run(namespaces) })
	mounts        = sync.OnceValue(func() error { return mountScript().run(namespaces) })
	fuse          = sync.OnceValue(func() error { return fuseScript().run(namespaces) })
	overlay       = sync.OnceValue(func() error { return overlayScript().run(namespaces) })
	pidNamespace  = sync.OnceValue(func() error { return procScript().run(namespaces | unix.CLONE_NEWPID) })
)

const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS

// inUserNamespace begins a script for a child in new namespaces.
func inUserNamespace() *script {
	s := &script{}
	// An unprivileged process may only map its group after it gave up setgroups.
	s.write("/proc/self/setgroups", "deny")
	s.write("/proc/self/uid_map", fmt.Sprintf("%d %[1]d 1\n", os.Geteuid()))
	s.write("/proc/self/gid_map", fmt.Sprintf("%d %[1]d 1\n", os.Getegid()))
	s.call("make all mounts private", unix.SYS_MOUNT, "none", "/", 0, unix.MS_REC|unix.MS_PRIVATE, 0)
	return s
}

// target is a directory that a child can mount over: every host has one of them.
func target() string {
	for _, dir := range []string{"/tmp", "/var/tmp", "/dev/shm", "/run"} {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
	}
	return "/"
}

func mountScript() *script {
	s := inUserNamespace()
	dir := target()
	tree := s.call("open_tree", unix.SYS_OPEN_TREE, atFDCWD, "/", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID}
	raw := append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(&attr)), int(unsafe.Sizeof(attr)))...)
	s.call("mount_setattr", unix.SYS_MOUNT_SETATTR, tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, raw, len(raw))
	s.call("move_mount", unix.SYS_MOVE_MOUNT, tree, "", atFDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH)
	return s
}

func fuseScript() *script {
	s := inUserNamespace()
	// The mount option names the descriptor, so its number must be known
	// beforehand: a placeholder here keeps it free for the child.
	number, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		number = 100
	} else {
		s.fds = append(s.fds, number)
	}
	fd := s.call("open /dev/fuse", unix.SYS_OPENAT, atFDCWD, "/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	s.call("dup3", unix.SYS_DUP3, fd, number, unix.O_CLOEXEC)
	fs := s.call("fsopen fuse", unix.SYS_FSOPEN, "fuse", unix.FSOPEN_CLOEXEC)
	for _, option := range [][2]string{
		{"source", "flatrun-doctor"}, {"fd", fmt.Sprint(number)}, {"rootmode", "40000"},
		{"user_id", fmt.Sprint(os.Geteuid())}, {"group_id", fmt.Sprint(os.Getegid())},
	} {
		s.call("fsconfig "+option[0], unix.SYS_FSCONFIG, fs, unix.FSCONFIG_SET_STRING, option[0], option[1], 0)
	}
	s.call("mount a FUSE file system", unix.SYS_FSCONFIG, fs, unix.FSCONFIG_CMD_CREATE, 0, 0, 0)
	s.call("fsmount", unix.SYS_FSMOUNT, fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	return s
}

func overlayScript() *script {
	s := inUserNamespace()
	dir := target()
	s.call("mount tmpfs", unix.SYS_MOUNT, "tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=700")
	for _, name := range []string{"/l", "/u", "/w", "/m", "/l/d"} {
		s.call("mkdir", unix.SYS_MKDIRAT, atFDCWD, dir+name, 0o700)
	}
	s.call("mount overlayfs", unix.SYS_MOUNT, "overlay", dir+"/m", "overlay", 0,
		fmt.Sprintf("lowerdir=%[1]s/l,upperdir=%[1]s/u,workdir=%[1]s/w,userxattr", dir))
	s.call("write to overlayfs", unix.SYS_OPENAT, atFDCWD, dir+"/m/d/f", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	s.call("remove from overlayfs", unix.SYS_UNLINKAT, atFDCWD, dir+"/m/d/f", 0)
	return s
}

func procScript() *script {
	s := inUserNamespace()
	s.call("mount a new /proc", unix.SYS_MOUNT, "proc", target(), "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, 0)
	return s
}

// mapSubordinate lets newuidmap map first and count ids into a new user
// namespace.
func mapSubordinate(program string, own int, first, count uint64) error {
	s := &script{}
	s.call("getpid", unix.SYS_GETPID)
	return s.runWith(unix.CLONE_NEWUSER, func(pid int) error {
		cmd := exec.Command(program, fmt.Sprint(pid), "0", fmt.Sprint(own), "1", "1", fmt.Sprint(first), fmt.Sprint(count))
		out, err := cmd.CombinedOutput()
		if text := strings.TrimSpace(string(out)); err != nil && text != "" {
			err = errors.New(text)
		}
		return err
	})
}
