package vfs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// layOver mounts an overlay of the image, its layers, t.root.Lower and a writable directory, as the new root.
//
// The directories are bound to short names in the stage, as the option string has no room and its own syntax.
func (t *Tree) layOver() error {
	layers := []string{"image"}
	for _, dir := range t.root.Layers {
		name := t.name()
		if err := t.layer(dir, name, unix.MOUNT_ATTR_RDONLY); err != nil {
			return fmt.Errorf("layer %s: %w", dir, err)
		}
		layers = append([]string{name}, layers...) // overlayfs wants the uppermost first
	}
	for _, dir := range t.root.Lower {
		name := t.name()
		if err := t.layer(dir, name, unix.MOUNT_ATTR_RDONLY); err != nil {
			return fmt.Errorf("overlay %s: %w", dir, err)
		}
		if t.has(name + "/upper") {
			name += "/upper"
		}
		layers = append([]string{name}, layers...)
	}
	// userxattr: the overlay's own attributes must be such as an ordinary user may set.
	data := []string{"userxattr", "lowerdir=" + strings.Join(layers, ":")}
	upper, err := t.upper()
	if err != nil {
		return err
	}
	if upper != "" {
		data = append(data, "upperdir="+upper+"/upper", "workdir="+upper+"/work")
	}
	if err := unix.Fchdir(t.stage); err != nil {
		return err
	}
	overlay, err := newFS("overlay", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, data)
	if err != nil {
		return fmt.Errorf("%w: the kernel refuses to lay %s over %s; it takes Linux 5.11, and an upper directory on a local file system", err, t.upperName(), t.root.Name)
	}
	if err := unix.Mkdirat(t.stage, "root", 0o755); err != nil {
		return err
	}
	if err := attach(overlay, t.stage, "root"); err != nil {
		return fmt.Errorf("mount overlay: %w", err)
	}
	t.base, t.fd, t.names.base = overlay, overlay, "root"
	return nil
}

func (t *Tree) upperName() string {
	switch {
	case t.root.Upper != "":
		return t.root.Upper
	case t.root.Memory:
		return "memory"
	}
	return strings.Join(append(t.root.Layers[:len(t.root.Layers):len(t.root.Layers)], t.root.Lower...), " and ")
}

// layer binds a host directory to a name in the stage.
func (t *Tree) layer(dir, name string, attr uint64) error {
	tree, err := cloneTree(dir, false)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	if ok, err := isDir(tree); err != nil || !ok {
		return cmp.Or(err, errNotDir)
	}
	if err := restrict(tree, attr); err != nil {
		return err
	}
	if err := unix.Mkdirat(t.stage, name, 0o755); err != nil {
		return err
	}
	return attach(tree, t.stage, name)
}

// has reports whether the stage has a directory of this name.
func (t *Tree) has(name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(t.stage, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// upper makes the writable layer and returns its name in the stage, "" if none is wanted.
func (t *Tree) upper() (string, error) {
	name := t.name()
	switch {
	case t.root.Upper != "":
		if err := t.layer(t.root.Upper, name, 0); err != nil {
			return "", fmt.Errorf("overlay %s: %w", t.root.Upper, err)
		}
	case t.root.Memory:
		data := []string{"mode=755"}
		if t.root.Size > 0 {
			data = append(data, "size="+strconv.FormatInt(t.root.Size, 10))
		}
		tree, err := newFS("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, data)
		if err != nil {
			return "", err
		}
		if err := unix.Mkdirat(t.stage, name, 0o755); err != nil {
			return "", err
		}
		if err := attach(tree, t.stage, name); err != nil {
			return "", err
		}
	default:
		return "", nil
	}
	for _, sub := range []string{"/upper", "/work"} {
		if err := unix.Mkdirat(t.stage, name+sub, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("overlay %s: make directory %s: %w", t.upperName(), sub[1:], err)
		}
	}
	return name, nil
}
