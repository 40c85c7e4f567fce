package session

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/session/keep"
)

// What the keeper holds for a session: its socket, and for each mount the descriptor of /dev/fuse and the notes of what the
// kernel was told (fusefs.Config.Memory).
const (
	keptSocket = "socket"
	keptMount  = "mount "
)

// takeListener makes the socket, or goes on with that of the process before: clients that connected meanwhile wait in it.
func takeListener(dir string, cfg Config) (*net.UnixListener, error) {
	if files := cfg.Kept[keptSocket]; len(files) == 1 {
		defer files[0].Close()
		// Once more, for clients to learn the process by it (SO_PEERCRED).
		if err := unix.Listen(int(files[0].Fd()), unix.SOMAXCONN); err != nil {
			return nil, fmt.Errorf("socket of the session: %w", err)
		}
		l, err := net.FileListener(files[0])
		if err != nil {
			return nil, fmt.Errorf("socket of the session: %w", err)
		}
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
			return u, nil
		}
	}
	l, err := listen(dir)
	if err != nil || cfg.Keeper == nil {
		return l, err
	}
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = cfg.Keeper.Keep(keptSocket, int(fd)) })
	if err == nil {
		err = failed
	}
	return l, err
}

// makeNotes makes the file for what the kernel is told, nil where no keeper would hold it.
func makeNotes(keeper *keep.Keeper, fqrn string) (*os.File, error) {
	if keeper == nil {
		return nil, nil
	}
	fd, err := unix.MemfdCreate("notes of "+fqrn, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("repository %s: memory for notes: %w", fqrn, err)
	}
	return os.NewFile(uintptr(fd), "notes of "+fqrn), nil
}

// keep hands the mount to the keeper, if the kernel lets another server go on with it.
func (r *repositories) keep(v *served, dev int, notes *os.File) error {
	if notes == nil {
		return nil
	}
	if !v.fs.Resumable() {
		r.log.Info("the kernel is too old to go on with a mount whose server was killed", "repository", v.settings.FQRN)
		return nil
	}
	return r.keeper.Keep(keptMount+v.settings.FQRN, dev, int(notes.Fd()))
}

func (r *repositories) drop(fqrn string) {
	if err := r.keeper.Drop(keptMount + fqrn); err != nil {
		r.log.Debug("the keeper does not answer", "error", err)
	}
}

// resume goes on with the mounts of the process before this one. What cannot be served any more is let go of: who uses it
// gets errors instead of waiting.
func (r *repositories) resume(kept map[string][]*os.File) {
	var all sync.WaitGroup
	for name, files := range kept {
		fqrn, ok := strings.CutPrefix(name, keptMount)
		if !ok {
			continue
		}
		all.Go(func() {
			if err := r.resumeMount(fqrn, files); err != nil {
				r.report(fmt.Errorf("repository %s: go on with the mount: %w", fqrn, err))
				r.drop(fqrn)
				for _, f := range files {
					f.Close()
				}
			}
		})
	}
	all.Wait()
	entries, err := os.ReadDir(r.tree.dir)
	if err != nil {
		r.report(err)
	}
	for _, e := range entries {
		r.mu.Lock()
		served := r.slots[e.Name()] != nil
		r.mu.Unlock()
		if served {
			continue
		}
		if err := r.tree.detach(e.Name()); err != nil {
			r.report(err)
		}
	}
}

func (r *repositories) resumeMount(fqrn string, files []*os.File) error {
	began := time.Now()
	if len(files) != 2 {
		return fmt.Errorf("%d descriptors instead of 2", len(files))
	}
	if st, err := files[1].Stat(); err != nil || st.Size() == 0 {
		return fmt.Errorf("there was no memory for notes about it (%v)", err)
	}
	settings, err := r.settings.Repository(fqrn)
	if err != nil {
		return err
	}
	v, err := openServed(context.Background(), settings, r.caches, files[1], r.log)
	if err != nil {
		return err
	}
	if err := v.takeOver(files[0]); err != nil {
		return err
	}
	v.path = filepath.Join(r.tree.dir, fqrn)
	s := &slot{done: make(chan struct{}), served: v}
	close(s.done)
	r.mu.Lock()
	r.slots[fqrn] = s
	r.mu.Unlock()
	v.moved = r.moved
	v.follow(0, r.report)
	r.log.Info("goes on with a mount", "repository", fqrn, "revision", v.repo.Head().Manifest().Revision, "took", time.Since(began))
	return nil
}

// takeOver goes on with a mount by its descriptor of /dev/fuse, which it closes. What has become new meanwhile, follow finds and
// shows. After an error v is closed.
func (v *served) takeOver(device *os.File) error {
	// The file system takes a descriptor over, and files close theirs when nobody refers to them any more.
	dev, err := unix.FcntlInt(device.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = v.fs.Serve(dev)
	}
	if err != nil {
		v.close()
		return err
	}
	device.Close()
	return nil
}
