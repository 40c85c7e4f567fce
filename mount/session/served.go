package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/config"
	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/mount/fetch"
	"github.com/flatrun/flatrun/mount/fusefs"
	"github.com/flatrun/flatrun/mount/pack"
	"github.com/flatrun/flatrun/mount/prefetch"
	"github.com/flatrun/flatrun/mount/repo"
)

// requestDeadlines is how many times the deadline of a fetch a request of the kernel may take. A fetch ends by its own
// deadline when no byte comes, with an error that names host and proxy; this bounds large objects that trickle.
const requestDeadlines = 10

// served is one repository: fetched, verified, shown as a file system. A session has several, flatrun mount has one.
type served struct {
	settings  *config.Repository
	main      *fetch.Client
	store     *cas.Remote
	repo      *repo.Repository
	fs        *fusefs.FS
	ahead     *prefetch.Prefetcher
	packs     *pack.Store
	packFiles *cas.Remote
	usePacks  bool
	path      string // mount point, set by the one who mounts
	log       *slog.Logger
	stop      context.CancelFunc // ends the look-out for new revisions

	permission *permission // of a helper, nil where none was asked

	mu         sync.Mutex
	checked    time.Time
	approached map[string]bool // images that something was fetched ahead for

	pinning pinning
	moved   func() // told of each new revision, nil for nobody
}

// openServed goes the chain of trust to the root catalog. The error names the repository and what is wrong with it. What
// the kernel is told is noted in notes, nil for a mount that nobody takes over.
func openServed(ctx context.Context, settings *config.Repository, c caches, notes *os.File, log *slog.Logger) (*served, error) {
	v := &served{settings: settings, log: log.With("repository", settings.FQRN), checked: time.Now()}
	if err := v.open(ctx, c, notes); err != nil {
		if prefix := "repository " + settings.FQRN; !strings.HasPrefix(err.Error(), prefix) { // as package repo says itself
			err = fmt.Errorf("%s: %w", prefix, err)
		}
		return nil, err
	}
	return v, nil
}

func (v *served) open(ctx context.Context, c caches, notes *os.File) error {
	keys, err := repo.LoadKeys(v.settings.PublicKeys...)
	if err != nil {
		return err
	}
	if v.main, err = fetch.New(fetchConfig(v.settings, v.log)); err != nil {
		return err
	}
	v.openPacks(c)
	v.store = &cas.Remote{Cache: c.main, Lower: v.packs, Archives: c.lower.Archives, Main: v.main, Log: v.log}
	if len(v.settings.ExternalServers) > 0 {
		external, err := fetch.New(externalConfig(v.settings, v.log))
		if err != nil {
			return fmt.Errorf("external data: %w", err)
		}
		v.store.External = external
	}
	var shown cas.Hash
	if notes != nil {
		if shown, err = fusefs.Noted(notes); err != nil {
			return err
		}
	}
	if v.repo, err = repo.Open(ctx, repo.Config{
		FQRN: v.settings.FQRN, Store: v.store, Fetcher: v.main, Cache: c.main, Keys: keys, Blacklist: v.settings.Blacklist,
		Tag: v.settings.Tag, Shown: shown, Env: v.variable, Status: v.network, Log: v.log,
	}); err != nil {
		return err
	}
	if err := v.authorize(ctx, !shown.IsZero()); err != nil {
		v.permission.end()
		v.repo.Close()
		return err
	}
	v.lookAhead(c)
	v.fs, err = fusefs.New(fusefs.Config{
		Repo: v.repo, Store: v.store, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Log: v.log,
		Budget: c.open, Usage: c.usage, OnRead: v.reading, Timeout: requestDeadlines * cmp.Or(v.settings.Network.Deadline, time.Minute), Memory: notes,
	})
	if err != nil {
		v.permission.end()
		v.ahead.Close()
		v.repo.Close()
		return err
	}
	v.keepAsking()
	return nil
}

// variable is the value of a variable in the target of a symbolic link: the configuration's, else the environment's.
func (v *served) variable(name string) string {
	if value, ok := v.settings.Variables[name]; ok {
		return value
	}
	return os.Getenv(name)
}

// network is what the magic attributes tell.
func (v *served) network() repo.Status {
	s := v.main.Status()
	return repo.Status{Host: s.Host, Proxy: s.Proxy}
}

// follow looks for a new revision after some time, and then whenever the manifest's time to live is over, and shows it, until
// close.
func (v *served) follow(first time.Duration, report func(error)) {
	ctx, stop := context.WithCancel(context.Background())
	v.stop = stop
	go func() {
		for wait := first; ; wait = v.interval() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			if err := v.refresh(ctx); err != nil && ctx.Err() == nil {
				report(err)
			}
		}
	}()
}

// interval is how long to wait before the next look for a new revision.
func (v *served) interval() time.Duration {
	ttl := v.repo.TTL()
	if limit := v.settings.MaxTTL; limit > 0 {
		ttl = min(ttl, limit)
	}
	return ttl
}

// refresh looks for a new revision now, and whether the user may see it. After an error, what is shown is what it was.
func (v *served) refresh(ctx context.Context) error {
	if err := v.permitted(ctx, true); err != nil {
		return fmt.Errorf("repository %s: %w", v.settings.FQRN, err)
	}
	err := v.rereadBlacklist()
	var changed bool
	if err == nil {
		changed, err = v.repo.Refresh(ctx)
	}
	if err != nil {
		return fmt.Errorf("repository %s: look for a new revision: %w", v.settings.FQRN, err)
	}
	v.mu.Lock()
	v.checked = time.Now()
	v.mu.Unlock()
	// Also when nothing changed: an earlier Update may not have come to its end.
	if err := v.fs.Update(ctx); err != nil {
		return fmt.Errorf("repository %s: show the new revision: %w", v.settings.FQRN, err)
	}
	if !changed {
		return nil
	}
	v.log.Info("new revision", "revision", v.repo.Head().Manifest().Revision)
	if v.moved != nil {
		v.moved()
	}
	return nil
}

// rereadBlacklist makes what the site refuses now hold, however long the repository has been mounted.
func (v *served) rereadBlacklist() error {
	now, err := v.settings.Reread()
	if err == nil {
		err = v.repo.SetBlacklist(now.Blacklist)
	}
	return err
}

// usable tells why nobody new may use the repository, nil for no reason: the site refuses it, or the user.
func (v *served) usable(ctx context.Context) error {
	err := v.permitted(ctx, false)
	if offline, why := v.repo.Offline(); err == nil && offline && errors.Is(why, repo.ErrBlacklisted) {
		err = why
	}
	if err != nil && !strings.HasPrefix(err.Error(), "repository ") {
		err = fmt.Errorf("repository %s: %w", v.settings.FQRN, err)
	}
	return err
}

// close lets go of everything. What still uses the mount gets errors.
func (v *served) close() {
	if v.stop != nil {
		v.stop()
	}
	v.permission.end()
	v.fs.Close()
	v.packs.Close()
	v.ahead.Close()
	v.repo.Close()
	v.store.Close()
	v.packFiles.Close()
	v.main.Close()
}

func (v *served) status() enter.MountStatus {
	m, net, store, packs, ahead := v.repo.Head().Manifest(), v.main.Status(), v.store.Stats(), v.packFiles.Stats(), v.ahead.Stats()
	v.mu.Lock()
	checked := v.checked
	v.mu.Unlock()
	s := enter.MountStatus{
		FQRN: v.settings.FQRN, Mountpath: v.path, Tag: v.settings.Tag,
		Revision: m.Revision, RootHash: m.Root.String(), Published: time.Unix(m.Timestamp, 0), TTL: v.repo.TTL(), Checked: checked,
		Server: net.Host, Proxy: net.Proxy, Fetched: store.Objects + packs.Objects, Bytes: store.Wire + packs.Wire, Hits: store.Hits, Uncached: store.Uncached,
		Requests: v.fs.Counters(), Latency: v.fs.Latencies(), Took: v.fs.Took(), Slowest: slowest(v.fs), Failed: v.fs.Failed(),
		Ahead: enter.Ahead{Objects: ahead.Fetched, Bytes: ahead.Bytes, Failed: ahead.Failed, Dropped: ahead.Dropped},
		Network: enter.Network{Requests: net.Requests, Failures: net.Failures, HostSwitches: net.HostSwitches,
			ProxySwitches: net.ProxySwitches, Active: net.Active},
	}
	switch offline, err := v.repo.Offline(); {
	case offline && repo.IsRefusal(err):
		s.NotTaken = err.Error()
	case offline:
		s.Offline = err.Error()
	}
	if err := v.permission.refusal(); err != nil {
		s.Refused = err.Error()
	}
	for _, f := range v.fs.Failures() {
		s.Failures = append(s.Failures, fmt.Sprintf("%s %s %s: %s (%d times)", f.Time.Format(time.RFC3339), f.Op, f.Path, f.Err, f.Count))
	}
	return s
}
