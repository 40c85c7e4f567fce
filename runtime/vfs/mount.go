package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"golang.org/x/sys/unix"
)

// mount attaches one source at its place.
func (t *Tree) mount(sources []source, places []Place, s source, p Place) error {
	if s.m.Kind == Link {
		return t.link(s.m)
	}
	target, err := t.target(sources, places, s, p)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	switch {
	case s.m.Kind == Merge:
		t.merge(s, target)
		return nil
	case s.m.Cwd && same(s.fd, target):
		return nil
	}
	if s.fd < 0 {
		if s.fd, err = t.realize(s.m); err != nil {
			return err
		}
	}
	defer unix.Close(s.fd)
	if err := attach(s.fd, target, ""); err != nil {
		return attachError(err, target, s, p)
	}
	return nil
}

// attachError explains the kernel's answer.
func attachError(err error, target int, s source, p Place) error {
	// The kernel says EINVAL of a directory and something else.
	if dir, fail := isDir(target); errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EINVAL) && fail == nil && dir != s.dir {
		if s.dir {
			return fmt.Errorf("%s is not a directory, but its source is", p.Path)
		}
		return fmt.Errorf("%s is a directory, but its source is not", p.Path)
	}
	return fmt.Errorf("attach at %s: %w", p.Path, err)
}

// target opens the place of a mount in the new root. A mount point that is missing inside an earlier mount is made there,
// and stays: on the host, if that shows a directory of the host's.
func (t *Tree) target(sources []source, places []Place, s source, p Place) (int, error) {
	if p.Over {
		dir, err := inRoot(t.fd, path.Dir(p.Path), unix.O_DIRECTORY)
		if err != nil {
			return -1, err
		}
		defer unix.Close(dir)
		return unix.Openat(dir, path.Base(p.Path), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	}
	fd, err := inRoot(t.fd, p.Path, 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return fd, err
	}
	if p.Inside < 0 {
		return -1, fmt.Errorf("%s has vanished from the image", p.Path)
	}
	around := sources[p.Inside].m
	if s.m.Weak && around.Kind == Bind && !around.Make {
		return -1, fmt.Errorf("%s is not in %s, which is mounted around it", p.Path, around.Source)
	}
	fd, err = t.makeWritable(places[p.Inside].Path, around, func() (int, error) { return t.makeInside(p.Path, s.dir) })
	if err != nil {
		return -1, fmt.Errorf("%s is not in %s, which is mounted around it, and cannot be made there: %w", p.Path, around.Source, err)
	}
	return fd, nil
}

// makeWritable calls do while the mount at place, which may be shown read-only, can be written.
func (t *Tree) makeWritable(place string, m *Mount, do func() (int, error)) (int, error) {
	if !m.ReadOnly {
		return do()
	}
	fd, err := inRoot(t.fd, place, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return -1, err
	}
	made, err := do()
	return made, errors.Join(err, unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}))
}

// makeInside makes a mount point in what is mounted already, and what leads to it.
func (t *Tree) makeInside(name string, dir bool) (int, error) {
	parent, err := inRoot(t.fd, path.Dir(name), unix.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) && path.Dir(name) != name {
		parent, err = t.makeInside(path.Dir(name), true)
	}
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	if err := makeNodes(parent, "", []Node{{Path: path.Base(name), Dir: dir}}); err != nil {
		return -1, err
	}
	return unix.Openat(parent, path.Base(name), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// link makes a symbolic link in a directory in memory.
func (t *Tree) link(m *Mount) error {
	parent, err := inRoot(t.fd, path.Dir(m.Target), unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	return unix.Symlinkat(m.Source, parent, path.Base(m.Target))
}

// merge attaches the entries that target lacks. Where target cannot take a new name (an automounter's directory),
// that name is left out.
func (t *Tree) merge(s source, target int) {
	for _, e := range s.entries {
		defer unix.Close(e.tree)
		if fd, err := inRoot(target, e.name, 0); err == nil {
			unix.Close(fd)
			continue
		}
		err := makeNodes(target, "", []Node{{Path: e.name, Dir: e.dir}})
		if err == nil {
			err = attach(e.tree, target, e.name)
		}
		if err != nil {
			t.log.Info("not mounted", "target", path.Join(s.m.Target, e.name), "reason", err)
		}
	}
}

// same reports whether two descriptors are of the same file.
func same(a, b int) bool {
	var x, y unix.Stat_t
	return unix.Fstat(a, &x) == nil && unix.Fstat(b, &y) == nil && x.Dev == y.Dev && x.Ino == y.Ino
}

// ReadFile reads a file inside root, at most 16 MiB of it.
func ReadFile(root int, name string) ([]byte, error) {
	fd, err := unix.Openat2(root, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer unix.Close(fd)
	var data []byte
	for buf := make([]byte, 16<<10); len(data) < 16<<20; {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", name, err)
		case n == 0:
			return data, nil
		}
		data = append(data, buf[:max(n, 0)]...)
	}
	return nil, fmt.Errorf("read %s: too large", name)
}
