// Package session serves the repositories of one user in one job step on one node: it holds the mounts, answers those
// who join, and goes when the last of them has gone.
//
// A session is a process in a user namespace and a mount namespace of its own (package enter makes them). It has a
// directory that only the user can enter:
//
//	socket    where clients ask (enter.Request, enter.Reply)
//	cvmfs/    the tree of repositories, a tmpfs inside the namespace, an empty directory outside
//	log       what it has to say
//
// A run of a container goes like this:
//
//  1. The client's constructor connects and asks to join. It gets the user namespace and a detached copy of the tree,
//     which it hangs into a copy of the mount namespace it was called in.
//  2. It asks for an image. The session mounts the repository if it is not yet; the mount appears in the client's
//     copy by propagation.
//  3. The client becomes the container's command; the connection closes with execve. The session knows from the process
//     table that somebody is inside still.
//
// Unless it asks to follow, a client is told of the revision that a repository has at this moment, in a directory of the
// mount that shows this revision for good (fusefs.FS.Pin). The mount itself moves on to new ones. A revision is let go of
// when no connection and no mount table of a process inside shows it any more.
//
// When no connection is left and no process is in the user namespace or one below it, for Idle long, the session takes
// the lock on its directory (so that nobody is just starting one), removes socket, log and directory, and ends.
package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/config"
	"github.com/flatrun/flatrun/mount/session/keep"
)

// DefaultIdle is how long a session outlives its last user where the configuration does not say.
const DefaultIdle = 60 * time.Second

// Config is what a session needs to know.
type Config struct {
	Dir      string         // its directory, made and locked by the one who starts it (enter.Start)
	Settings *config.Config // repositories, cache, idle time
	Log      *slog.Logger   // nil discards

	// Keeper holds what the session's mounts and clients hang on when this process is killed, nil for none. Kept is what
	// it holds from a process before this one, by name.
	Keeper *keep.Keeper
	Kept   map[string][]*os.File
}

// server is a running session.
type server struct {
	dir      string
	idle     time.Duration
	log      *slog.Logger
	started  time.Time
	tree     *tree
	userNS   *os.File
	nsInode  uint64
	parent   int // process of the keeper, 0 for none
	listener *net.UnixListener
	repos    *repositories
	settings *config.Config
	errors   journal
	home     *os.File // its directory
	socket   os.FileInfo

	mu      sync.Mutex
	clients int
	ending  bool
	changed chan struct{} // a client came or went
	quit    chan struct{} // closed once: end now
	once    sync.Once
}

// Run serves until the session is idle, told to quit, or ctx is done. It calls ready when clients can come. It must run
// in a user namespace of its own, with all capabilities there.
func Run(ctx context.Context, cfg Config, ready func()) error {
	s, err := newServer(cfg)
	if err != nil {
		return err
	}
	defer s.close()
	if address := cfg.Settings.Session.Metrics; address != "" {
		stop, err := serveMetrics(address, s.status)
		if err != nil { // the second session of a user has the same address: no reason to refuse containers
			s.errors.add(err)
		} else {
			defer stop()
		}
	}
	go acceptAll(s.listener, s.errors.add, s.serve)
	done := make(chan struct{})
	defer close(done)
	go s.sweepAll(done, len(cfg.Kept) > 0)
	ready()
	s.log.Info("session serves", "dir", s.dir, "pid", os.Getpid(), "idle", s.idle)
	s.wait(ctx)
	return nil
}

func newServer(cfg Config) (*server, error) {
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &server{
		dir: cfg.Dir, idle: cfg.Settings.Session.Idle, log: log, started: time.Now(), settings: cfg.Settings,
		changed: make(chan struct{}, 1), quit: make(chan struct{}),
	}
	if cfg.Keeper != nil {
		s.parent = os.Getppid()
	}
	if s.idle <= 0 {
		s.idle = DefaultIdle
	}
	if err := s.enterOwnNamespace(); err != nil {
		return nil, err
	}
	var err error
	if s.home, err = os.Open(s.dir); err != nil {
		return nil, fmt.Errorf("open the session's directory: %w", err)
	}
	if s.tree, err = newTree(filepath.Join(s.dir, "cvmfs"), len(cfg.Kept) > 0); err != nil {
		return nil, err
	}
	if s.repos, err = openRepositories(cfg.Settings, s.tree, log, &s.errors); err != nil {
		s.tree.close()
		return nil, err
	}
	s.repos.keeper = cfg.Keeper
	if len(cfg.Kept) > 0 {
		s.repos.resume(cfg.Kept)
		s.errors.add(errors.New("the session's server was killed, and goes on"))
	}
	s.listener, err = takeListener(s.dir, cfg)
	if err == nil {
		s.socket, err = os.Lstat(filepath.Join(s.dir, "socket"))
	}
	if err != nil {
		s.repos.close()
		s.tree.close()
		return nil, err
	}
	return s, nil
}

// enterOwnNamespace opens the user namespace for clients, and makes sure that it is not the machine's: a session
// mounts and must not do so for everybody when it was started as root by hand.
func (s *server) enterOwnNamespace() error {
	var own, first unix.Stat_t
	f, err := os.Open("/proc/self/ns/user")
	if err != nil {
		return fmt.Errorf("find the session's user namespace: %w", err)
	}
	if err := unix.Fstat(int(f.Fd()), &own); err != nil {
		return err
	}
	if unix.Stat("/proc/1/ns/user", &first) == nil && own.Ino == first.Ino || own.Ino == initialUserNamespace {
		return errors.New("a session runs in a user namespace of its own; it is started by flatrun")
	}
	s.userNS, s.nsInode = f, own.Ino
	return nil
}

const initialUserNamespace = 0xEFFFFFFD // PROC_USER_INIT_INO of the kernel's interface

// end makes the session quit, once.
func (s *server) end() { s.once.Do(func() { close(s.quit) }) }

// closePatience is how long a session that was told to end waits for somebody who is just starting one in its place.
const closePatience = 5 * time.Second

// close removes all that the session made. A client that connects from now on finds no socket, or one that nobody
// listens to, and starts another session; until the lock is ours, it finds this one.
func (s *server) close() {
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	owned := s.lock(closePatience) && s.ownsPath()
	if owned {
		s.remove("socket")
	}
	s.listener.Close()
	s.repos.close()
	if err := s.tree.close(); err != nil {
		s.log.Warn("tree of repositories stays", "error", err)
	}
	if owned {
		s.remove("cvmfs")
		s.remove("log")
		os.RemoveAll(filepath.Join(s.dir, "share")) // who is in which of the containers that processes shared: nobody any more
		s.remove("")
	}
}

// lock takes the lock on the session's directory, which is let go when the process ends.
func (s *server) lock(patience time.Duration) bool {
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if err := unix.Flock(int(s.home.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

func (s *server) unlock() { unix.Flock(int(s.home.Fd()), unix.LOCK_UN) }

// ownsPath reports whether socket and directory are still the session's own. If somebody emptied the runtime directory, or
// took this session for dead when it hung, another session may be there, which is not ours to remove.
func (s *server) ownsPath() bool {
	ours, err1 := s.home.Stat()
	there, err2 := os.Lstat(s.dir)
	socket, err3 := os.Lstat(filepath.Join(s.dir, "socket"))
	return err1 == nil && err2 == nil && err3 == nil && os.SameFile(ours, there) && os.SameFile(s.socket, socket)
}

func (s *server) remove(name string) {
	if err := remove(filepath.Join(s.dir, name)); err != nil {
		s.log.Warn("file of the session stays", "error", err)
	}
}
