package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/config"
)

// mount makes the mount, and hands it to the keeper where there is one and the kernel lets another server go on with it.
func (m *hostMount) mount(ctx context.Context, settings *config.Repository) (err error) {
	var notes *os.File
	if m.cfg.Keeper != nil {
		if notes, err = (&repositories{keeper: m.cfg.Keeper}).notes(settings.FQRN); err != nil {
			return err
		}
	}
	if m.served, err = openServed(ctx, settings, m.caches, notes, m.cfg.Log); err != nil {
		return err
	}
	dev, err := m.served.fs.MountHelper(m.cfg.Dir)
	if err == nil && notes != nil && m.served.fs.Resumable() {
		if err = m.cfg.Keeper.Keep(keptMount+settings.FQRN, dev, int(notes.Fd())); err != nil {
			err = errors.Join(err, m.served.fs.Unmount())
		}
	}
	if err != nil {
		m.served.close()
		return fmt.Errorf("repository %s: %w", settings.FQRN, err)
	}
	return nil
}

// resume goes on with the mount of a server that was killed.
func (m *hostMount) resume(settings *config.Repository) error {
	began := time.Now()
	files := m.cfg.Kept[keptMount+settings.FQRN]
	if len(files) != 2 {
		return fmt.Errorf("repository %s: the server was killed, and this kernel lets no other go on with the mount; flatrun umount %s, and mount it again",
			settings.FQRN, m.cfg.Dir)
	}
	var err error
	if m.served, err = openServed(context.Background(), settings, m.caches, files[1], m.cfg.Log); err != nil {
		return err
	}
	// The file system takes a descriptor over, and files close theirs when nobody refers to them any more.
	dev, err := unix.FcntlInt(files[0].Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = m.served.fs.Serve(dev)
	}
	if err != nil {
		m.served.close()
		return fmt.Errorf("repository %s: go on with the mount: %w", settings.FQRN, err)
	}
	files[0].Close()
	m.report(errors.New("the mount's server was killed, and another one goes on"))
	go func() { // to the head, if that has moved on meanwhile
		if err := m.served.fs.Update(context.Background()); err != nil {
			m.report(err)
		}
	}()
	m.cfg.Log.Info("goes on with a mount", "repository", settings.FQRN, "took", time.Since(began))
	return nil
}
