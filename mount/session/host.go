package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/flatrun/flatrun/mount/config"
	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/mount/fusefs"
	"github.com/flatrun/flatrun/mount/session/keep"
)

// HostConfig is one repository mounted for browsing, where every process of the user sees it.
type HostConfig struct {
	FQRN     string
	Dir      string // mount point, an existing directory
	Settings *config.Config
	Metrics  string       // where to serve metrics, unix:PATH or tcp:HOST:PORT; "" for nowhere
	Log      *slog.Logger // nil discards

	// Keeper holds the mount and its socket when this process is killed, nil for none. Kept is what it holds from a process
	// before this one, by name.
	Keeper *keep.Keeper
	Kept   map[string][]*os.File
}

// hostMount is such a mount.
type hostMount struct {
	cfg     HostConfig
	home    string // directory of its socket
	caches  caches
	served  *served
	errors  journal
	started time.Time
}

// Mount mounts the repository by fusermount3, calls ready, and serves until the mount is gone or ctx is done.
func Mount(ctx context.Context, cfg HostConfig, ready func()) error {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	m := &hostMount{cfg: cfg, started: time.Now()}
	settings, err := cfg.Settings.Repository(cfg.FQRN)
	if err != nil {
		return err
	}
	if m.caches, err = openCaches(cfg.Settings, cfg.Log); err != nil {
		return err
	}
	resumed := len(cfg.Kept) > 0
	if resumed {
		err = m.resume(settings)
	} else {
		err = m.mount(ctx, settings)
	}
	if err != nil {
		return err
	}
	defer m.served.close()
	m.served.path = cfg.Dir
	first := m.served.interval()
	if resumed {
		first = 0
	}
	m.served.follow(first, m.report)
	listener, err := m.listen()
	if err != nil {
		return errors.Join(err, fusefs.UnmountHelper(cfg.Dir))
	}
	if cfg.Metrics != "" {
		stop, err := serveMetrics(cfg.Metrics, m.status)
		if err != nil {
			listener.Close()
			return errors.Join(err, fusefs.UnmountHelper(cfg.Dir))
		}
		defer stop()
	}
	go acceptAll(listener, m.report, m.serve)
	ready()
	m.wait(ctx)
	listener.Close()
	return errors.Join(remove(filepath.Join(m.home, "socket")), remove(m.home))
}

// wait returns when the mount is gone, which umount(8) or ctx may cause. A mount in use cannot be taken away: then the
// server stays, as its end would leave a dead mount behind. Copies of the mount in other namespaces, where a container or
// a service was started meanwhile, do not count: they would keep the server for as long as those live.
func (m *hostMount) wait(ctx context.Context) {
	left, stop := watchMount(m.cfg.Dir)
	defer stop()
	for {
		select {
		case <-m.served.fs.Gone():
			return
		case <-left:
			return
		case <-ctx.Done():
		}
		err := fusefs.UnmountHelper(m.cfg.Dir)
		if err == nil {
			return
		}
		m.report(err)
		select {
		case <-m.served.fs.Gone():
			return
		case <-left:
			return
		case <-time.After(time.Second):
		}
	}
}

func (m *hostMount) report(err error) {
	m.errors.add(err)
	m.cfg.Log.Warn("mount", "error", err)
}

// hostPrefix begins the names of the directories of mounts, beside those of sessions.
const hostPrefix = "mount-"

// listen makes the socket by which status finds the mount, in a directory beside those of sessions.
func (m *hostMount) listen() (*net.UnixListener, error) {
	base, err := BaseDir()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(m.cfg.Dir))
	m.home = filepath.Join(base, fmt.Sprintf("%s%s-%x", hostPrefix, m.cfg.FQRN, sum[:4]))
	if err := enter.MakeDir(m.home); err != nil {
		return nil, err
	}
	if len(m.cfg.Kept[keptSocket]) == 0 { // a mount of the same place whose server was killed left one
		if err := remove(filepath.Join(m.home, "socket")); err != nil {
			return nil, err
		}
	}
	return takeListener(m.home, Config{Keeper: m.cfg.Keeper, Kept: m.cfg.Kept})
}

func (m *hostMount) serve(conn *net.UnixConn) {
	converse(conn, func(r enter.Request) (*enter.Reply, bool) {
		switch r.Op {
		case "status":
			status := m.status()
			return &enter.Reply{Status: &status}, true
		case "refresh":
			reply := failed(m.served.refresh(context.Background()))
			return &reply, true
		}
		reply := failed(fmt.Errorf("a mount of flatrun mount cannot %s", r.Op))
		return &reply, true
	})
}

func (m *hostMount) status() enter.Status {
	status := enter.Status{
		Key: filepath.Base(m.home), Dir: m.home, PID: os.Getpid(), Host: true, Started: m.started,
		Mounts: []enter.MountStatus{m.served.status()}, Cache: m.caches.status(),
		Errors: m.errors.list(), Unkept: m.cfg.Keeper.Gone(),
	}
	measureSelf(&status)
	return status
}

// remove is os.Remove of what may be gone already.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// BaseDir is the directory of all sessions and mounts of the user: flatrun below $XDG_RUNTIME_DIR, else /tmp/flatrun-UID.
func BaseDir() (string, error) {
	dir, err := enter.SessionDir("")
	return filepath.Dir(dir), err
}

// DefaultMountpoint is where flatrun mount puts a repository when it is given no directory: mnt/FQRN in BaseDir.
func DefaultMountpoint(fqrn string) (string, error) {
	base, err := BaseDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(base, "mnt", fqrn), nil
}
