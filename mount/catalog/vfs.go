package catalog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite/vfs"
)

// descriptorVFS registers, once a process, the SQLite file system whose file
// names are numbers of open descriptors. SQLite's own one would resolve
// /proc/self/fd/N to the name the cache gave the object; the cache may remove
// that name at any time, and only the descriptor is known to have been verified.
var descriptorVFS = sync.OnceValues(func() (string, error) {
	name, _, err := vfs.New(descriptors{})
	return name, err
})

// uri names the database behind descriptor fd. Immutable, so that SQLite takes
// no locks and looks for no journal.
func uri(fd uintptr) (string, error) {
	name, err := descriptorVFS()
	if err != nil {
		return "", fmt.Errorf("sqlite: %w", err)
	}
	return fmt.Sprintf("file:%d?vfs=%s&immutable=1&mode=ro", fd, name), nil
}

type descriptors struct{}

func (descriptors) Open(name string) (fs.File, error) {
	fd, err := strconv.Atoi(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &descriptor{fd: fd}, nil
}

// descriptor reads an open file without owning it or moving its offset.
type descriptor struct {
	fd     int
	offset int64
}

func (d *descriptor) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekStart {
		return 0, errors.ErrUnsupported
	}
	d.offset = offset
	return offset, nil
}

// Read fills p. At the end of the file it answers less without an error, which
// the VFS turns into SQLite's short read.
func (d *descriptor) Read(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Pread(d.fd, p[done:], d.offset+int64(done))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return done, err
		}
		if n == 0 {
			break
		}
		done += n
	}
	return done, nil
}

func (d *descriptor) Close() error { return nil }

func (d *descriptor) Stat() (fs.FileInfo, error) {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return nil, err
	}
	return info{strconv.Itoa(d.fd), st.Size}, nil
}

// info is what SQLite asks of a file: its size.
type info struct {
	name string
	size int64
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return 0o400 }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return false }
func (i info) Sys() any           { return nil }
