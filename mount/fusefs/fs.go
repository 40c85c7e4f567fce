package fusefs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/repo"
)

// Config says what to show and how.
type Config struct {
	Repo  *repo.Repository
	Store cas.Store // where the files' objects come from

	UID, GID uint32 // owner of everything, whatever the repository says: an unmapped owner breaks overlayfs and setgid directories

	Timeout time.Duration // of a request that needs the network, 0 for as long as the Store takes
	Open    int           // descriptors of objects kept open; 0 for a quarter of what the process may, at most 1024
	Budget  *Budget       // bounds them together with those of the process's other file systems; nil for not

	OnRead func(Access) (done func()) // is told of objects that are read and not open yet, and of their arrival; must not block
	Usage  func() (used, limit int64) // bytes of the cache for statfs; nil for none

	// Memory is an empty file in which is noted what the kernel is told, nil for none. With that of a server that died, Serve
	// goes on with its mount, see Resumable.
	Memory *os.File

	Log   *slog.Logger // nil discards
	Debug bool         // log every request
}

// Access is a read of an object that was not open.
type Access struct {
	Path    func() string // of the file within the repository, "" when it cannot be told; slow
	Objects []cas.Object  // all objects of the file, in order
	Index   int           // the one that is read
}

// FS is a mounted repository.
type FS struct {
	fuse.RawFileSystem // ENOSYS to what is not answered here, OPEN, OPENDIR, FLUSH and ACCESS among it
	counters           counters
	failures           failures
	slowest            slowest

	repo     *repo.Repository
	name     string
	uid, gid uint32
	timeout  time.Duration
	onRead   func(Access) (done func())
	usage    func() (used, limit int64)
	log      *slog.Logger
	debug    bool

	refused atomic.Pointer[errRefused] // nil for nothing, see Refuse

	noCapabilities bool // file capabilities cannot be shown, see rootMapped

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	server atomic.Pointer[fuse.Server]
	gone   chan struct{}
	dir    string // where MountHelper mounted

	numbers   *numbers
	dirs      *dirs
	pins      pins
	memory    *notebook // nil for none
	init      []byte    // the kernel's INIT request, where a mount is taken over
	lineages  lineages
	elderLate atomic.Pointer[time.Time] // when an earlier catalog did not come in time, nil for never
	listings  listings
	contents  contents
	objects   *objects

	head      *view           // that of the root directory
	updating  sync.Mutex      // one Update at a time; guards what follows
	unsettled map[*dir]*state // directories that could not be compared, with the state the kernel may know
}

// New makes the file system of the repository's head. Mount it with MountHelper or Serve.
func New(cfg Config) (*FS, error) {
	if cfg.Repo == nil || cfg.Store == nil {
		return nil, errors.New("file system: no repository or no store is given")
	}
	fs := &FS{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		repo:          cfg.Repo, name: cfg.Repo.FQRN(), uid: cfg.UID, gid: cfg.GID,
		timeout: cfg.Timeout, onRead: cfg.OnRead, usage: cfg.Usage, log: cfg.Log, debug: cfg.Debug,
		gone: make(chan struct{}), numbers: newNumbers(), head: &view{},
		unsettled: make(map[*dir]*state),
	}
	fs.dirs = newDirs(fs.head)
	if fs.log == nil {
		fs.log = slog.New(slog.DiscardHandler)
	}
	fs.failures.log = fs.log
	if cfg.Open <= 0 {
		cfg.Open = openLimit()
	}
	fs.objects = newObjects(cfg.Store, cfg.Open, cfg.Budget)
	fs.ctx, fs.cancel = context.WithCancel(context.Background())
	st, err := fs.begin(cfg)
	if err != nil {
		fs.cancel()
		return nil, err
	}
	fs.head.state.Store(st)
	return fs, nil
}

// begin answers the first state: the head, or that in which an earlier server left the mount.
func (fs *FS) begin(cfg Config) (*state, error) {
	if cfg.Memory == nil {
		return fs.newState(fs.head, cfg.Repo.Head(), 1)
	}
	m, r, err := openMemory(cfg.Memory)
	if err != nil {
		return nil, fmt.Errorf("repository %s: %w", fs.name, err)
	}
	fs.memory, fs.numbers.memory, fs.dirs.memory, fs.init = m, m, m, r.init
	if r.init != nil {
		return fs.recall(fs.ctx, r)
	}
	st, err := fs.newState(fs.head, cfg.Repo.Head(), 1)
	if err == nil {
		m.note(noteRoot, nil, st.root.holder.cat.hash.String())
	}
	return st, err
}

// Close ends waiting requests and lets go of descriptors. The mount should be gone by then: what still uses it gets errors.
func (fs *FS) Close() {
	fs.cancel()
	fs.objects.close()
}

// String names the file system in the mount table.
func (fs *FS) String() string { return fs.name }

// Failures lists the latest requests that were answered with an error other than "no such file", the newest last.
func (fs *FS) Failures() []Failure { return fs.failures.list() }

// Failed is how many there were in all.
func (fs *FS) Failed() uint64 { return fs.failures.count() }

// answer turns a request's error into the kernel's answer and notes what a user should be able to find out later.
func (fs *FS) answer(o op, path string, err error) fuse.Status {
	status := errno(err)
	switch status {
	case fuse.OK, fuse.ENOENT, fuse.EINTR, fuse.EINVAL, fuse.ENODATA, fuse.ERANGE, fuse.EISDIR:
	default:
		fs.failures.add(o.String(), path, err)
	}
	return status
}

// Open and OpenDir and their like are answered once with ENOSYS: the kernel then opens files and directories by itself,
// keeps their pages and never sends these requests again.

// Open is counted to show that the kernel stopped asking.
func (fs *FS) Open(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status {
	return fs.refuse(opOpen)
}

// OpenDir is like Open.
func (fs *FS) OpenDir(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status {
	return fs.refuse(opOpenDir)
}

// Flush is like Open.
func (fs *FS) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fs.refuse(opFlush) }

// Access is like Open; the kernel checks permissions by the modes.
func (fs *FS) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fs.refuse(opAccess) }

func (fs *FS) refuse(o op) fuse.Status {
	fs.counters.count(o, time.Now())
	return fuse.ENOSYS
}
