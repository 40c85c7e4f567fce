package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flatrun/flatrun/mount/config"
)

// mount makes the mount, and hands it to the keeper where there is one and the kernel lets another server go on with it.
func (m *hostMount) mount(ctx context.Context, settings *config.Repository) error {
	notes, err := makeNotes(m.cfg.Keeper, settings.FQRN)
	if err != nil {
		return err
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
	if err := m.served.takeOver(files[0]); err != nil {
		return fmt.Errorf("repository %s: go on with the mount: %w", settings.FQRN, err)
	}
	m.report(errors.New("the mount's server was killed, and another one goes on"))
	m.cfg.Log.Info("goes on with a mount", "repository", settings.FQRN, "took", time.Since(began))
	return nil
}
