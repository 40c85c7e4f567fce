// Package repo is a repository at one verified revision: trust chain, catalogs,
// path look-up. No FUSE, no HTTP.
//
// The chain of trust goes from a master key, which the site configures, over the
// whitelist and the certificate to the manifest; the manifest holds the hash of
// the root catalog, a catalog those of its children and files. Each step is
// verified before the next one is used, and a failure ends in an error, never in
// less checking.
package repo

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
)

// What can be wrong with a repository, for errors.Is. Whatever matches none of
// these and is not cas.ErrCorrupt or catalog.ErrCorrupt is a matter of the
// network or of this machine.
var (
	ErrFormat      = errors.New("malformed")
	ErrWrongName   = errors.New("wrong repository name")
	ErrWrongKey    = errors.New("wrong signature")
	ErrExpired     = errors.New("expired")
	ErrRollback    = errors.New("older than the revision seen before")
	ErrBlacklisted = errors.New("blacklisted")
	ErrNoTag       = errors.New("no such tag or revision")
)

// Config says which repository to open and by what means.
type Config struct {
	FQRN      string
	Store     cas.Store   // all content-addressed objects
	Fetcher   cas.Fetcher // manifest and whitelist
	Cache     *cas.Cache  // breadcrumbs; nil for none: then nothing guards against roll-backs before this process, nor works offline
	Keys      []*rsa.PublicKey
	Blacklist []string            // lines of the site's blacklists
	Tag       string              // "" for the head; else the name of a tag, the number of a revision that has one, a date or the hash of a root catalog
	Env       func(string) string // variables of symbolic links; nil for none
	Now       func() time.Time    // nil for time.Now
	Status    func() Status       // what the magic attributes tell of the network; nil for nothing
	Version   string              // of this program, for the magic attribute

	// Shown is the root catalog of the revision that a server before this one had verified and showed, zero for none. This
	// revision is gone on with, until Refresh finds a newer one: what was vouched for stays readable, whatever became of the
	// network and the whitelist.
	Shown cas.Hash

	Log *slog.Logger // nil discards
}

// Status is the state of the network as magic attributes show it.
type Status struct {
	Host, Proxy            string // in use; Proxy is DIRECT where there is none
	Hosts, Proxies         string // all, in the configuration's syntax
	ExternalHost           string // in use for external data
	Timeout, TimeoutDirect time.Duration
}

// Tag names a revision.
type Tag = catalog.Tag

// Repository is an open repository, safe for concurrent use.
type Repository struct {
	cfg     Config
	log     *slog.Logger
	refresh sync.Mutex // one at a time

	mu      sync.Mutex
	black   blacklist
	head    *Revision
	offline error // why the head could not be asked for, nil when it was
	checked time.Time

	pool     catalog.Pool
	catalogs registry
}

// Open verifies the repository's head (or the revision cfg.Tag pins) and opens
// its root catalog.
func Open(ctx context.Context, cfg Config) (*Repository, error) {
	r := &Repository{cfg: cfg, log: cfg.Log}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.cfg.Now == nil {
		r.cfg.Now = time.Now
	}
	if r.cfg.Env == nil {
		r.cfg.Env = func(string) string { return "" }
	}
	if err := r.SetBlacklist(cfg.Blacklist); err != nil {
		return nil, err
	}
	if len(cfg.Keys) == 0 {
		return nil, fmt.Errorf("repository %s: no master key is configured; set public_keys", cfg.FQRN)
	}
	if r.resume(ctx) {
		return r, nil
	}
	if _, err := r.update(ctx); err != nil {
		r.Close()
		return nil, fmt.Errorf("repository %s: %w", cfg.FQRN, err)
	}
	return r, nil
}

// SetBlacklist makes the lines hold from the next Refresh on, in place of those before.
func (r *Repository) SetBlacklist(lines []string) error {
	b, err := parseBlacklist(lines, r.cfg.FQRN)
	if err != nil {
		return fmt.Errorf("repository %s: %w", r.cfg.FQRN, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.black = b
	return nil
}

// blacklist is what is refused now.
func (r *Repository) blacklist() blacklist {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.black
}

// Close ends idle connections to the catalogs. Revisions must not be used after.
func (r *Repository) Close() error {
	r.pool.Close()
	return nil
}

// FQRN is the repository's name.
func (r *Repository) FQRN() string { return r.cfg.FQRN }

// Head is the newest verified revision.
func (r *Repository) Head() *Revision {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.head
}

// Offline tells whether the head comes from the cache because the servers could
// not be asked, and why.
func (r *Repository) Offline() (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.offline != nil, r.offline
}

// Refresh asks for a newer revision. After an error the head is what it was. A
// pinned repository never changes.
func (r *Repository) Refresh(ctx context.Context) (changed bool, err error) {
	changed, err = r.update(ctx)
	if err != nil {
		return false, fmt.Errorf("repository %s: %w", r.cfg.FQRN, err)
	}
	return changed, nil
}

// offlineTTL is how soon an unreachable repository is asked again.
const offlineTTL = 180 * time.Second

// TTL is how long to wait before the next Refresh.
func (r *Repository) TTL() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.offline != nil {
		return offlineTTL
	}
	return time.Duration(min(r.head.ttl(), 1<<30)) * time.Second
}

// Tags lists the named revisions, oldest first.
func (r *Repository) Tags(ctx context.Context) ([]Tag, error) {
	h, err := r.history(ctx, r.Head().Manifest())
	if err != nil {
		return nil, fmt.Errorf("repository %s: %w", r.cfg.FQRN, err)
	}
	return h.Tags, nil
}
