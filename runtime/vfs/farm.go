package vfs

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// largeFarm is the number of entries from which an overlay is made rather than so many binds.
	largeFarm = 24
	// weakFarm is the most entries that may be bound for mounts which are only nice to have.
	weakFarm = 128
)

// makePoints makes the mount points of a plan: in the root itself where it can be written, else in farms.
// Directories at places in hidden need not be shown, as a mount will come over them. It returns the places that are
// not made because the farm would be too large for what wants it, or because they would stay in the image.
func (t *Tree) makePoints(farms []Farm, hidden map[string]bool) (dropped []string, err error) {
	if t.layers != nil {
		if err := t.layPoints(farms); err != nil {
			return nil, fmt.Errorf("make mount points over the image: %w", err)
		}
	}
	// An outer farm first: its binds would hide an inner one.
	slices.SortStableFunc(farms, func(a, b Farm) int { return depth(a.Dir) - depth(b.Dir) })
	for _, f := range farms {
		made := true
		switch {
		case t.root.Writable: // what is made in an image stays there, so it is not made for what is only nice to have
			f.New = slices.DeleteFunc(f.New, func(n Node) bool {
				if n.Weak {
					dropped = append(dropped, n.Path)
				}
				return n.Weak
			})
			err = makeNodes(t.fd, "/", f.New)
		case t.writable(): // of layPoints' what the writable directory hides is missing
			err = makeNodes(t.fd, "/", f.New)
		default:
			made, err = t.makeFarm(f, hidden)
		}
		if err != nil {
			return nil, fmt.Errorf("make mount points in the image's %s: %w", f.Dir, err)
		}
		for _, n := range f.New {
			if !made {
				dropped = append(dropped, n.Path)
			}
		}
	}
	return dropped, nil
}

func depth(dir string) int { return len(components(dir)) }

// makeFarm puts a directory in memory in place of f.Dir, with the same entries and the new ones.
func (t *Tree) makeFarm(f Farm, hidden map[string]bool) (made bool, err error) {
	names, err := entries(t.base, "."+f.Dir)
	if err != nil {
		return false, err
	}
	from, err := unix.Openat(t.base, "."+f.Dir, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(from)
	name := t.name()
	if err := unix.Mkdirat(t.stage, name, 0o755); err != nil {
		return false, err
	}
	farm, err := openTree(t.stage, name, false, 0)
	if err != nil {
		return false, err
	}
	// Not for /, whose entries are few, and hidden by mounts mostly.
	if f.Dir != "/" && len(names) > largeFarm && !t.mountsInImage() {
		err := t.layerFarm(f, from, farm, name)
		if err == nil {
			return true, nil
		}
		t.log.Info("no overlay for mount points", "directory", f.Dir, "reason", err)
	}
	if f.Weak && len(names) > weakFarm {
		return false, nil
	}
	if err := t.attachFarm(f, farm, name); err != nil {
		return false, err
	}
	return true, t.fillFarm(f, from, farm, names, hidden)
}

// fillFarm makes the entries of a farm.
func (t *Tree) fillFarm(f Farm, from, farm int, names []fs.DirEntry, hidden map[string]bool) error {
	show := func(name string) error { return showEntry(from, farm, name) }
	if f.Dir == "/" {
		// Nearly every container has this farm. Its source and itself have names in the stage, so a plain bind will
		// do, which takes half the time: the kernel makes a namespace around each detached mount.
		if err := unix.Fchdir(t.stage); err != nil {
			return err
		}
		show = func(name string) error {
			return unix.Mount(t.names.base+"/"+name, t.names.root+"/"+name, "", unix.MS_BIND|unix.MS_REC, "")
		}
	}
	for _, e := range names {
		place := path.Join(f.Dir, e.Name())
		err := replicate(from, farm, e)
		if err == nil && e.Type() != fs.ModeSymlink && !(e.IsDir() && hidden[place]) {
			err = show(e.Name())
		}
		if err != nil {
			return fmt.Errorf("show %s: %w", place, err)
		}
	}
	if err := makeNodes(farm, f.Dir, f.New); err != nil {
		return err
	}
	return unix.MountSetattr(farm, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}

// layerFarm lays the new entries over a directory of many: one mount instead of one for each. The directory itself is
// from; the new entries are made in the stage under name, which farm is a clone of.
func (t *Tree) layerFarm(f Farm, from, farm int, name string) error {
	below, err := openTree(from, "", false, unix.AT_EMPTY_PATH)
	if err != nil {
		return err
	}
	defer unix.Close(below)
	lower := t.name()
	if err := unix.Mkdirat(t.stage, lower, 0o755); err != nil {
		return err
	}
	if err := attach(below, t.stage, lower); err != nil {
		return err
	}
	if err := makeNodes(farm, f.Dir, f.New); err != nil {
		return err
	}
	if err := unix.Fchdir(t.stage); err != nil {
		return err
	}
	overlay, err := newFS("overlay", unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, []string{"userxattr", "lowerdir=" + name + ":" + lower})
	if err != nil {
		return err
	}
	defer unix.Close(overlay)
	return t.attachFarm(f, overlay, name)
}

// mountsInImage reports whether something is mounted inside the image's directory, which an overlay would not show.
func (t *Tree) mountsInImage() bool {
	image, err := filepath.EvalSymlinks(t.root.Image)
	if err != nil {
		return true
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return true
	}
	written := strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`).Replace(strings.TrimSuffix(image, "/") + "/")
	for line := range strings.Lines(string(table)) {
		// The fifth field is the mount point (proc_pid_mountinfo(5)).
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], written) {
			return true
		}
	}
	return false
}

// attachFarm mounts a farm at its place. The one for / becomes the root instead.
func (t *Tree) attachFarm(f Farm, farm int, name string) error {
	if f.Dir == "/" {
		if err := attach(farm, t.stage, name); err != nil {
			return err
		}
		t.fd, t.names.root = farm, name
		return nil
	}
	dir, err := inRoot(t.fd, f.Dir, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return attach(farm, dir, "")
}

// replicate makes an entry of a farm: the same link, or something to mount on.
func replicate(from, farm int, e fs.DirEntry) error {
	switch {
	case e.Type() == fs.ModeSymlink:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(from, e.Name(), buf)
		if err != nil {
			return err
		}
		return unix.Symlinkat(string(buf[:n]), farm, e.Name())
	case e.IsDir():
		return unix.Mkdirat(farm, e.Name(), 0o755)
	}
	return unix.Mknodat(farm, e.Name(), unix.S_IFREG|0o644, 0)
}

// showEntry binds an entry of the directory from to the same name in a farm.
func showEntry(from, farm int, name string) error {
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
