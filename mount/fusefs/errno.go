package fusefs

import (
	"errors"
	iofs "io/fs"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/flatrun/flatrun/mount/cas"
)

// errUnavailable marks what is part of the revision but could not be had: an object or catalog that is missing on the
// servers, corrupt, or late. It hides the cause's fs.ErrNotExist: to tell the kernel ENOENT would make it remember that
// there is no such file.
type errUnavailable struct{ err error }

func (e errUnavailable) Error() string { return e.err.Error() }

func unavailable(err error) error {
	if err == nil || errors.Is(err, errInterrupted) {
		return err
	}
	return errUnavailable{err}
}

// errStale is for ids of directories that the current revision no longer has.
var errStale = errors.New("the directory is not part of the current revision")

// errNoAttribute is for extended attributes that are not there.
var errNoAttribute = errors.New("no such attribute")

// errno is the one place where an error becomes what the caller sees.
func errno(err error) fuse.Status {
	var number syscall.Errno
	var lost errUnavailable
	switch {
	case err == nil:
		return fuse.OK
	case errors.Is(err, errInterrupted):
		return fuse.EINTR
	case errors.As(err, new(errRefused)):
		return fuse.EACCES
	case errors.As(err, &lost):
		// Too few descriptors or too little memory is the caller's to know, as with the official client.
		if errors.As(lost.err, &number) && (number == syscall.EMFILE || number == syscall.ENFILE || number == syscall.ENOMEM) {
			return fuse.Status(number)
		}
		if errors.Is(lost.err, cas.ErrDenied) {
			return fuse.EACCES
		}
		return fuse.EIO
	case errors.Is(err, errNoAttribute):
		return fuse.ENODATA
	case errors.Is(err, errStale):
		return fuse.Status(syscall.ESTALE)
	case errors.Is(err, iofs.ErrNotExist):
		return fuse.ENOENT
	case errors.As(err, &number) && number > 0:
		return fuse.Status(number)
	}
	return fuse.EIO
}

// Failure is a request that was answered with an error other than "no such file".
type Failure struct {
	Time  time.Time // of the latest
	Op    string    // "READ"
	Path  string    // within the repository, as far as known
	Err   string
	Count uint64 // how often in a row
}

// failures keeps the latest ones, for the log and for status.
type failures struct {
	log *slog.Logger
	mu  sync.Mutex
	all []Failure
	n   uint64 // ever
}

const maxFailures = 32

// add logs each new failure once, and then at every tenfold repetition: a loop over a dead server must not fill the disk.
func (f *failures) add(op, path string, err error) {
	now := Failure{Time: time.Now(), Op: op, Path: path, Err: err.Error(), Count: 1}
	f.mu.Lock()
	f.n++
	if n := len(f.all); n > 0 && f.all[n-1].Op == op && f.all[n-1].Err == now.Err {
		now.Count = f.all[n-1].Count + 1
		f.all[n-1] = now
	} else {
		if n == maxFailures {
			f.all = append(f.all[:0], f.all[1:]...)
		}
		f.all = append(f.all, now)
	}
	f.mu.Unlock()
	if powerOfTen(now.Count) {
		f.log.Warn("request failed", "op", op, "path", path, "error", now.Err, "times", now.Count)
	}
}

func powerOfTen(n uint64) bool {
	for n > 9 && n%10 == 0 {
		n /= 10
	}
	return n == 1
}

func (f *failures) count() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

func (f *failures) list() []Failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Failure(nil), f.all...)
}
