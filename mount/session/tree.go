package session

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// tree is the directory in which the session's repositories appear, one directory each: a tmpfs that exists in the
// session's mount namespace only. It is shared, and clients get slave copies of it: what is mounted later appears in
// running containers as well, and nothing that a container does comes back.
type tree struct{ dir string }

func newTree(dir string, there bool) (*tree, error) {
	if there {
		return &tree{dir}, nil
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	if err := unix.Mount("flatrun", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=1m"); err != nil {
		return nil, fmt.Errorf("mount a tmpfs on %s: %w", dir, err)
	}
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		return nil, fmt.Errorf("share %s: %w", dir, err)
	}
	return &tree{dir}, nil
}

// copy returns a detached copy of the tree for one client.
func (t *tree) copy() (int, error) { return copyMounts(t.dir) }

func copyMounts(path string) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return -1, fmt.Errorf("copy the mounts of %s: %w", path, err)
	}
	err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Propagation: unix.MS_SLAVE})
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("copy the mounts of %s: %w", path, err)
	}
	return fd, nil
}

// attach hangs a detached mount on name in the tree and returns the path.
func (t *tree) attach(mount int, name string) (string, error) {
	path := filepath.Join(t.dir, name)
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	if err := unix.MoveMount(mount, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return "", fmt.Errorf("attach the mount of %s: %w", name, err)
	}
	return path, nil
}

// detach takes name out of the tree; where containers use it, their copies stay until they end.
func (t *tree) detach(name string) error {
	path := filepath.Join(t.dir, name)
	if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	return os.Remove(path)
}

// close takes the tree away; the directory below it stays.
func (t *tree) close() error {
	if err := unix.Unmount(t.dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmount %s: %w", t.dir, err)
	}
	return nil
}
