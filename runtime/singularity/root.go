package singularity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Root shows the files that the container will see, as far as they are known
// before it exists: the image, and what is bound over it. The zero value shows
// nothing.
type Root struct {
	dir   *os.File // O_PATH
	cover []Cover
}

// Cover is something that hides part of the image: a bind if Source is set,
// something not yet there if it is empty. Later ones hide earlier ones.
type Cover struct {
	Target string // absolute path inside
	Source string // host path shown there, "" if it cannot be told
}

// errUnknown means that only the running container can tell.
var errUnknown = errors.New("not known before the container runs")

// OpenRoot opens the image at dir for looking into it.
func OpenRoot(dir string, cover ...Cover) (*Root, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("could not open image %s: %w", dir, err)
	}
	return &Root{dir: os.NewFile(uintptr(fd), dir), cover: cover}, nil
}

// Close releases the image.
func (r *Root) Close() error { return r.dir.Close() }

// covered finds what hides a path; ok is false where the image itself shows.
func (r *Root) covered(name string) (host string, ok bool, err error) {
	for i := len(r.cover) - 1; i >= 0; i-- {
		c := r.cover[i]
		rest, below := below(name, path.Clean(c.Target))
		if !below {
			continue
		}
		if c.Source == "" {
			return "", false, errUnknown
		}
		return c.Source + rest, true, nil
	}
	return "", false, nil
}

// below reports whether name is dir or in it, and what follows dir.
func below(name, dir string) (rest string, ok bool) {
	if dir == "/" {
		return name, true
	}
	rest, ok = strings.CutPrefix(name, dir)
	return rest, ok && (rest == "" || rest[0] == '/')
}

// open opens a path of the container. Links are followed as inside: an absolute
// one starts at the image's root, and none leads out of it. The descriptor is
// bare, as package os would start its poller for it: four system calls and a
// thread that this program has no other use for.
func (r *Root) open(name string, flags int) (fd int, err error) {
	name = path.Clean("/" + name)
	host, covered, err := r.covered(name)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	dir, how := int(r.dir.Fd()), unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	file := "." + name
	if covered {
		dir, file, how.Resolve = unix.AT_FDCWD, host, 0
	}
	for {
		fd, err = unix.Openat2(dir, file, &how)
		switch err {
		case nil:
			return fd, nil
		case unix.EINTR, unix.EAGAIN: // EAGAIN: something was renamed meanwhile
			continue
		}
		return -1, &fs.PathError{Op: "open", Path: name, Err: err}
	}
}

// maxScript bounds what is read of a script; larger ones are left to a shell.
const maxScript = 1 << 20

// readFile returns a file's content.
func (r *Root) readFile(name string) ([]byte, error) {
	fd, err := r.open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	data := make([]byte, 0, 4096)
	for {
		n, err := unix.Read(fd, data[len(data):cap(data)])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, &fs.PathError{Op: "read", Path: name, Err: err}
		case n == 0:
			return data, nil
		}
		if data = data[:len(data)+n]; len(data) > maxScript {
			return nil, &fs.PathError{Op: "read", Path: name, Err: errUnknown}
		}
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
	}
}

// readDir lists a directory in lexical order.
func (r *Root) readDir(name string) ([]fs.DirEntry, error) {
	fd, err := r.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	entries, err := f.ReadDir(-1)
	sortEntries(entries)
	return entries, err
}

// stat follows links.
func (r *Root) stat(name string) (fs.FileInfo, error) {
	fd, err := r.open(name, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return f.Stat()
}

// MayBeDir reports whether the container may have a directory of this name: false
// only where that is certain.
func (r *Root) MayBeDir(name string) bool {
	info, err := r.stat(name)
	if err == nil {
		return info.IsDir()
	}
	return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNotDirectory)
}

// executable is the shell's test -x for a file. Where something not yet known
// hides the file, the image's own is taken for the answer.
func (r *Root) executable(name string) bool {
	info, err := r.stat(name)
	if errors.Is(err, errUnknown) {
		info, err = (&Root{dir: r.dir}).stat(name)
	}
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
