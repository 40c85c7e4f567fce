package vfs

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// weakFarm is the most entries of a directory that mounts which are only nice to have may cost: each is one mount.
const weakFarm = 128

// makePoints makes the mount points of a plan: in the root itself where it can be written, else in farms.
// Directories at places in hidden need not be shown, as a mount will come over them. It returns the places that are
// not made because the farm would be too large for what wants it.
func (t *Tree) makePoints(farms []Farm, hidden map[string]bool) (dropped []string, err error) {
	// An outer farm first: its binds would hide an inner one.
	slices.SortStableFunc(farms, func(a, b Farm) int { return depth(a.Dir) - depth(b.Dir) })
	if t.writable() {
		for _, f := range farms {
			if err := makeNodes(t.fd, "/", f.New); err != nil {
				return nil, fmt.Errorf("make mount points in the image's %s: %w", f.Dir, err)
			}
		}
		return nil, nil
	}
	for _, f := range farms {
		names, err := entries(t.base, "."+f.Dir)
		if err != nil {
			return nil, fmt.Errorf("list the image's %s: %w", f.Dir, err)
		}
		if f.Weak && f.Dir != "/" && len(names) > weakFarm {
			for _, n := range f.New {
				dropped = append(dropped, n.Path)
			}
			continue
		}
		if err := t.makeFarm(f, names, hidden); err != nil {
			return nil, fmt.Errorf("make mount points in the image's %s: %w", f.Dir, err)
		}
	}
	return dropped, nil
}

func depth(dir string) int { return len(components(dir)) }

// makeFarm puts a directory in memory in place of f.Dir, with the same entries and the new ones.
func (t *Tree) makeFarm(f Farm, names []fs.DirEntry, hidden map[string]bool) error {
	from, err := unix.Openat(t.base, "."+f.Dir, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	name := t.name()
	if err := unix.Mkdirat(t.stage, name, 0o755); err != nil {
		return err
	}
	farm, err := openTree(t.stage, name, false, 0)
	if err != nil {
		return err
	}
	if err := t.attachFarm(f, farm, name); err != nil {
		return err
	}
	for _, e := range names {
		place := path.Join(f.Dir, e.Name())
		if err := replicate(from, farm, e, e.IsDir() && hidden[place]); err != nil {
			return fmt.Errorf("show %s: %w", place, err)
		}
	}
	if err := makeNodes(farm, f.Dir, f.New); err != nil {
		return err
	}
	return unix.MountSetattr(farm, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}

// attachFarm mounts a farm at its place. The one for / becomes the root instead.
func (t *Tree) attachFarm(f Farm, farm int, name string) error {
	if f.Dir == "/" {
		if err := attach(farm, t.stage, name); err != nil {
			return err
		}
		t.fd = farm
		return nil
	}
	dir, err := inRoot(t.fd, f.Dir, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return attach(farm, dir, "")
}

// replicate makes an entry of a farm that shows the same entry of the directory from.
func replicate(from, farm int, e fs.DirEntry, hidden bool) error {
	name := e.Name()
	switch {
	case e.Type() == fs.ModeSymlink:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(from, name, buf)
		if err != nil {
			return err
		}
		return unix.Symlinkat(string(buf[:n]), farm, name)
	case e.IsDir():
		if err := unix.Mkdirat(farm, name, 0o755); err != nil || hidden {
			return err
		}
	default:
		if err := unix.Mknodat(farm, name, unix.S_IFREG|0o644, 0); err != nil {
			return err
		}
	}
	tree, err := openTree(from, name, true, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	return attach(tree, farm, name)
}

// makeNodes makes empty files and directories below dir, which is the place inside that they are named relative to.
func makeNodes(dir int, base string, nodes []Node) error {
	for _, n := range nodes {
		name := "./" + strings.TrimLeft(strings.TrimPrefix(n.Path, base), "/")
		var err error
		if n.Dir {
			err = unix.Mkdirat(dir, name, 0o755)
		} else {
			err = unix.Mknodat(dir, name, unix.S_IFREG|0o644, 0)
		}
		if err != nil && err != unix.EEXIST {
			return fmt.Errorf("%s: %w", n.Path, err)
		}
	}
	return nil
}
