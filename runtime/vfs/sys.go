package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Descriptors are plain numbers, opened close-on-exec: execve closes what is left.

// openTree clones the mount at path, with everything mounted below it if recursive, as a detached tree.
// It triggers automounts, which O_PATH would not. A link over which an automounter works is looked at again.
func openTree(dir int, path string, recursive bool, flags uint) (int, error) {
	flags |= unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	for try := 0; ; try++ {
		fd, err := unix.OpenTree(dir, path, flags)
		switch {
		case err == nil:
			return fd, nil
		case errors.Is(err, unix.EINTR):
		case try < 5 && (errors.Is(err, unix.ESTALE) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EAGAIN)):
			time.Sleep(time.Duration(try) * 20 * time.Millisecond)
		default:
			return -1, err
		}
	}
}

// attach puts the detached tree at path below dir, or at dir itself if path is empty.
func attach(tree, dir int, path string) error {
	flags := unix.MOVE_MOUNT_F_EMPTY_PATH
	if path == "" {
		flags |= unix.MOVE_MOUNT_T_EMPTY_PATH
	}
	return unix.MoveMount(tree, "", dir, path, flags)
}

// attributes returns the mount attributes of m.
func (m *Mount) attributes() (set uint64) {
	for _, a := range []struct {
		on   bool
		flag uint64
	}{{m.ReadOnly, unix.MOUNT_ATTR_RDONLY}, {m.NoSUID, unix.MOUNT_ATTR_NOSUID}, {m.NoDev, unix.MOUNT_ATTR_NODEV}, {m.NoExec, unix.MOUNT_ATTR_NOEXEC}} {
		if a.on {
			set |= a.flag
		}
	}
	return set
}

// restrict sets attributes on a whole tree of mounts.
func restrict(tree int, set uint64) error {
	if set == 0 {
		return nil
	}
	return unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: set})
}

// MakeNow makes the instance of a file system that is to be mounted, before anything else is.
func (m *Mount) MakeNow() (err error) {
	m.Made, err = newFS(m.Source, m.attributes(), m.Data)
	return err
}

// newFS makes a new instance of a file system as a detached mount.
func newFS(kind string, attributes uint64, data []string) (int, error) {
	ctx, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open file system %s: %w", kind, err)
	}
	defer unix.Close(ctx)
	for _, d := range data {
		if key, value, ok := strings.Cut(d, "="); ok {
			err = unix.FsconfigSetString(ctx, key, value)
		} else {
			err = unix.FsconfigSetFlag(ctx, key)
		}
		if err != nil {
			return -1, fmt.Errorf("file system %s: option %s: %w%s", kind, d, err, reason(ctx))
		}
	}
	if err := unix.FsconfigCreate(ctx); err != nil {
		return -1, fmt.Errorf("make file system %s: %w%s", kind, err, reason(ctx))
	}
	fd, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, int(attributes))
	if err != nil {
		return -1, fmt.Errorf("mount file system %s: %w", kind, err)
	}
	return fd, nil
}

// reason returns what the kernel has to say about a failure, e.g. " (overlay: upper fs does not support …)".
func reason(ctx int) string {
	buf := make([]byte, 512)
	n, err := unix.Read(ctx, buf)
	if err != nil || n < 3 || buf[0] != 'e' {
		return ""
	}
	return " (" + strings.TrimSpace(string(buf[2:n])) + ")"
}

// inRoot opens path as a place inside root: absolute links and .. stay within.
func inRoot(root int, path string, flags int) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_PATH | unix.O_CLOEXEC), Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for try := 0; ; try++ {
		fd, err := unix.Openat2(root, path, &how)
		// EAGAIN: the kernel cannot be sure about a .. while something else is renamed or mounted.
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) && try < 100 {
			continue
		}
		return fd, err
	}
}

// isDir reports whether the open file is a directory.
func isDir(fd int) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, err
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}

// entries lists a directory, with types.
func entries(dir int, path string) ([]fs.DirEntry, error) {
	fd, err := unix.Openat(dir, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	// The name serves ReadDir to look up types which the file system does not tell.
	f := os.NewFile(uintptr(fd), fmt.Sprintf("/proc/self/fd/%d", fd))
	defer f.Close()
	return f.ReadDir(-1)
}
