package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// source is a mount whose source is open. Kinds made in the stage have no descriptor until they are mounted.
type source struct {
	m       *Mount
	fd      int
	dir     bool
	entries []entry // Merge
}

// entry is one name that may be merged into a directory.
type entry struct {
	name string
	tree int
	dir  bool
}

// open opens the sources of all binds by their host paths, before anything is changed. Optional ones that do not
// exist are left out.
func (t *Tree) open(mounts []Mount) ([]source, error) {
	sources := make([]source, 0, len(mounts))
	for i := range mounts {
		m := &mounts[i]
		s := source{m: m, fd: -1, dir: m.Kind != File}
		err := s.open(t.log)
		switch {
		case err == nil:
			sources = append(sources, s)
		case m.Optional && errors.Is(err, fs.ErrNotExist):
		case m.Weak:
			t.log.Info("not mounted", "target", m.Target, "reason", err)
		default:
			return nil, m.wrap(err)
		}
	}
	return sources, nil
}

func (s *source) open(log *slog.Logger) (err error) {
	switch s.m.Kind {
	case Bind:
		if s.fd, err = openBind(s.m); err != nil {
			return err
		}
		s.dir, err = isDir(s.fd)
	case Merge:
		s.entries, err = openEntries(s.m, log)
	}
	return err
}

// openEntries opens all entries of a directory. What cannot be, an automounter's leftover perhaps, is left out.
func openEntries(m *Mount, log *slog.Logger) ([]entry, error) {
	names, err := entries(unix.AT_FDCWD, m.Source)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", m.Source, err)
	}
	var open []entry
	for _, n := range names {
		tree, err := openTree(unix.AT_FDCWD, filepath.Join(m.Source, n.Name()), true, 0)
		if err == nil {
			err = restrict(tree, m.attributes())
		}
		var dir bool
		if err == nil {
			dir, err = isDir(tree)
		}
		if err != nil {
			log.Info("not mounted", "target", filepath.Join(m.Target, n.Name()), "reason", err)
			continue
		}
		open = append(open, entry{n.Name(), tree, dir})
	}
	return open, nil
}

// openBind clones the first source that exists, and restricts the clone.
func openBind(m *Mount) (int, error) {
	if m.Make {
		if err := makeDir(m.Source, m.Mode); err != nil {
			return -1, err
		}
	}
	fd, err := cloneTree(m.Source, !m.NoRecurse)
	for _, other := range m.Or {
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		fd, err = cloneTree(other, !m.NoRecurse)
	}
	if err != nil {
		return -1, fmt.Errorf("source %s: %w", m.Source, err)
	}
	if err := restrict(fd, m.attributes()); err != nil {
		return -1, fmt.Errorf("restrict mount: %w", err)
	}
	return fd, nil
}

// cloneTree clones a host path. What hides below mounts made for a more privileged namespace may not be uncovered by
// a clone without them (EINVAL), so that is cloned with them.
func cloneTree(path string, recursive bool) (int, error) {
	fd, err := openTree(unix.AT_FDCWD, path, recursive, 0)
	if !recursive && errors.Is(err, unix.EINVAL) {
		return openTree(unix.AT_FDCWD, path, true, 0)
	}
	return fd, err
}

// makeDir makes a source directory with exactly these permissions, if it does not exist.
func makeDir(path string, mode uint32) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	err := unix.Mkdir(path, mode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make directory %s: %w", path, err)
	}
	return nil
}

// realize makes the detached mount of a source that is not a bind.
func (t *Tree) realize(m *Mount) (int, error) {
	switch m.Kind {
	case Memory:
		if len(m.Data) > 0 {
			return newFS("tmpfs", m.attributes(), append([]string{fmt.Sprintf("mode=%o", m.Mode)}, m.Data...))
		}
		name := t.name()
		if err := unix.Mkdirat(t.stage, name, m.Mode); err != nil {
			return -1, err
		}
		return openTree(t.stage, name, false, 0)
	case File:
		return t.file(m)
	case FS:
		if m.Made > 0 {
			return m.Made, nil
		}
		fd, err := newFS(m.Source, m.attributes(), m.Data)
		if err == nil || m.Fallback == "" {
			return fd, err
		}
		t.log.Info("the host's is used", "target", m.Target, "reason", err)
		fd, err = openTree(unix.AT_FDCWD, m.Fallback, true, 0)
		if err != nil {
			return -1, fmt.Errorf("source %s: %w", m.Fallback, err)
		}
		return fd, restrict(fd, m.attributes())
	}
	return -1, fmt.Errorf("unknown kind of mount %d", m.Kind)
}

// file makes a file in memory.
func (t *Tree) file(m *Mount) (int, error) {
	content, err := m.Content(t.base)
	if err != nil {
		return -1, err
	}
	name := t.name()
	fd, err := unix.Openat(t.stage, name, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, m.Mode)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	for len(content) > 0 {
		n, err := unix.Write(fd, content)
		if err != nil {
			return -1, fmt.Errorf("write %s: %w", m.Target, err)
		}
		content = content[n:]
	}
	tree, err := openTree(t.stage, name, false, 0)
	if err != nil {
		return -1, err
	}
	return tree, restrict(tree, m.attributes())
}
