package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
)

// A Kind tells a Storage how a file lives: how long caches may keep it and
// what must be durable before it appears.
type Kind uint8

const (
	// Data is named by its hash and never changes.
	Data Kind = iota
	// Head is one of the .cvmfs* files, replaced in place.
	Head
	// Final is the manifest: everything stored earlier must be durable
	// before it is visible.
	Final
)

// FileInfo describes one stored file.
type FileInfo struct {
	Name     string // as given to Put, e.g. "data/ab/cd…"
	Size     int64  // bytes
	Modified time.Time
}

// Storage holds the files of one repository by name. Put is atomic: a name
// shows the old bytes or all of the new ones. Implementations are safe for
// concurrent use.
type Storage interface {
	// Put stores exactly size bytes of r.
	Put(ctx context.Context, name string, r io.Reader, size int64, kind Kind) error
	// Get opens a file; errors.Is(err, fs.ErrNotExist) if there is none.
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	// Has answers a file's size, and whether it exists.
	Has(ctx context.Context, name string) (size int64, ok bool, err error)
	// Delete removes a file; one that is not there is no error.
	Delete(ctx context.Context, name string) error
	// List visits the files whose names start with prefix, in no order.
	List(ctx context.Context, prefix string) iter.Seq2[FileInfo, error]
	// Lock takes the publisher's lock without waiting; ErrLocked if another has it.
	Lock(ctx context.Context) (Lease, error)
	// String names the place for messages.
	String() string
}

// A Lease is the publisher's lock while it is held.
type Lease interface {
	// Valid returns an error if the lock may have passed to somebody else; else
	// it stays ours for some seconds at least.
	Valid(ctx context.Context) error
	Release() error
}

// ErrLocked is returned when another publisher holds the lock.
var ErrLocked = errors.New("another publisher is at work")

// readAll reads a small file of the repository, at most limit bytes.
func readAll(ctx context.Context, s Storage, name string, limit int64) (b []byte, err error) {
	rc, err := s.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	b, err = io.ReadAll(io.LimitReader(rc, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", name, s, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s of %s is larger than %d bytes", name, s, limit)
	}
	return b, nil
}

// Fetcher lets the readers of mount/repo read from a Storage.
func Fetcher(s Storage) cas.Fetcher { return fetcher{s} }

type fetcher struct{ s Storage }

func (f fetcher) Fetch(ctx context.Context, r cas.Request) (io.ReadCloser, error) {
	rc, err := f.s.Get(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	if r.Offset == 0 && r.Length == 0 {
		return rc, nil
	}
	if _, err := io.CopyN(io.Discard, rc, r.Offset); err != nil {
		rc.Close()
		return nil, fmt.Errorf("seek in %s: %w", r.Name, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(rc, r.Length), rc}, nil
}

// notExist wraps fs.ErrNotExist with the place and name that lack.
func notExist(s Storage, name string) error {
	return fmt.Errorf("%s of %s: %w", name, s, fs.ErrNotExist)
}
