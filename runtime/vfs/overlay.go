package vfs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// layOver mounts an overlay of the image, its layers, t.root.Lower and a writable directory, as the new root.
//
// Mount points that are missing are not made in the writable directory: in the user's they would stay, and the directories
// of an image of somebody else's cannot be written. They are made in a layer of their own between it and the rest
// (layPoints). What is missing is looked up in an overlay of the same that nobody writes to.
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
	upper, err := t.upper()
	if err != nil {
		return err
	}
	if upper == "" {
		return t.mountOverlay(layers, "")
	}
	t.layers, t.upperdir = layers, upper
	t.warnOfOwner()
	if t.root.Upper != "" {
		layers = append([]string{upper + "/upper"}, layers...)
	}
	if len(layers) == 1 { // what the image lacks is missing
		return nil
	}
	view, err := t.overlay(layers, "")
	t.base, t.fd = view, view
	return err
}

// warnOfOwner tells what the kernel will say EOVERFLOW of: a file is copied before it is changed, with its owner, whom the
// copy cannot have if the user namespace does not know him. Nobody is left to explain that when it happens.
func (t *Tree) warnOfOwner() {
	var st unix.Stat_t
	if unix.Fstat(t.base, &st) != nil || st.Uid != nobody || os.Geteuid() == nobody {
		return
	}
	t.log.Info(fmt.Sprintf("The image %s belongs to another user: its files and directories cannot be changed (EOVERFLOW); to change them, run a copy of the image", t.root.Name))
}

// nobody is what the kernel calls owners that a user namespace does not know, by default (overflowuid).
const nobody = 65534

// mountOverlay makes an overlay the new root.
func (t *Tree) mountOverlay(layers []string, upper string) error {
	overlay, err := t.overlay(layers, upper)
	if err != nil {
		return err
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

// overlay makes an overlay of directories in the stage, whose short names are used as the option string has no room and
// its own syntax.
func (t *Tree) overlay(layers []string, upper string) (int, error) {
	if err := unix.Fchdir(t.stage); err != nil {
		return -1, err
	}
	if upper == "" && nameless(layers) {
		name := t.name()
		if err := unix.Mkdirat(t.stage, name, 0o755); err != nil {
			return -1, err
		}
		layers = append(layers[:len(layers):len(layers)], name)
	}
	// userxattr: the overlay's own attributes must be such as an ordinary user may set.
	data := append([]string{"userxattr"}, lowerOptions(layers)...)
	if upper != "" {
		data = append(data, "upperdir="+upper+"/upper", "workdir="+upper+"/work")
	}
	overlay, err := newFS("overlay", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, data)
	if err != nil {
		return -1, fmt.Errorf("%w: the kernel refuses to lay %s over %s; it takes Linux 5.11, and an upper directory on a local file system", err, t.upperName(), t.root.Name)
	}
	return overlay, nil
}

// nameless tells whether none of the layers, paths from the current directory, says how long names may be. An overlay takes
// the longest that one of them allows; the official client's mounts allow 0, so that of them alone no name would be found.
func nameless(layers []string) bool {
	for _, l := range layers {
		var st unix.Statfs_t
		if unix.Statfs(l, &st) != nil || st.Namelen > 0 {
			return false
		}
	}
	return true
}

// maxOption is the length from which on the kernel refuses an option's value.
const maxOption = 256

// lowerOptions are the options that name the layers of an overlay, the uppermost first: one for all, or, where that would
// be too long, one for each, which takes Linux 6.7.
func lowerOptions(layers []string) []string {
	if all := strings.Join(layers, ":"); len(all) < maxOption {
		return []string{"lowerdir=" + all}
	}
	options := make([]string, len(layers))
	for i, l := range layers {
		options[i] = "lowerdir+=" + l
	}
	return options
}

// layPoints mounts the overlay that layOver has prepared, with the mount points of a plan in a layer above the image.
func (t *Tree) layPoints(farms []Farm) error {
	name := t.name()
	if err := unix.Mkdirat(t.stage, name, 0o755); err != nil {
		return err
	}
	points, err := unix.Openat(t.stage, name, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(points)
	dirs := []string{"."}
	for _, f := range farms {
		dir := "."
		for _, name := range components(f.Dir) {
			dir += "/" + name
			if err := unix.Mkdirat(points, dir, 0o755); err != nil && err != unix.EEXIST {
				return err
			}
			dirs = append(dirs, dir)
		}
		if err := makeNodes(points, "/", f.New); err != nil {
			return err
		}
	}
	for _, dir := range dirs {
		t.alike(points, dir)
	}
	unix.Close(t.base)
	return t.mountOverlay(append([]string{name}, t.layers...), t.upperdir)
}

// alike gives a directory, of which an overlay shows the uppermost, the rights and the times of the image's, and the
// owners where the user namespace has them.
func (t *Tree) alike(points int, dir string) {
	var st unix.Stat_t
	if unix.Fstatat(t.base, dir, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return
	}
	unix.Fchownat(points, dir, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
	unix.Fchmodat(points, dir, st.Mode&0o7777, 0)
	unix.UtimesNanoAt(points, dir, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
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
