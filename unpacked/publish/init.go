package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/repo"
)

// InitOptions describe a new repository.
type InitOptions struct {
	Options
	Keys        Keys   // Master included
	TTL         int64  // seconds that clients wait before they look for a new revision; 0: 240
	Description string // what the metainfo says the repository is
	Metainfo    []byte // JSON; nil: one with Description
	Uncollected bool   // never remove old revisions: garbage collection is forbidden
	AltPaths    bool   // see CommitOptions
}

const replicaText = "This repository may be replicated to stratum 1 servers.\n"

var fqrns = regexp.MustCompile(`^[a-z0-9]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]*[a-z0-9])?)+$`)

// CheckPublishable refuses a name that no repository should be given. Clients take more: see unpacked.CheckFQRN.
func CheckPublishable(fqrn string) error {
	if len(fqrn) > 60 || !fqrns.MatchString(fqrn) {
		return fmt.Errorf("repository name %q: want lower-case words joined by dots, such as images.example.org", fqrn)
	}
	return nil
}

// Init makes an empty repository with a signed first revision. It refuses a
// place that holds one already; what an interrupted Init left is overwritten.
func Init(ctx context.Context, s Storage, o InitOptions) (m *repo.Manifest, err error) {
	if err := CheckPublishable(o.FQRN); err != nil {
		return nil, err
	}
	o.fill()
	if o.Algorithm == 0 {
		o.Algorithm = cas.SHA1
	}
	lease, err := o.lock(ctx, s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lease.Release()) }()
	switch _, ok, err := s.Has(ctx, repo.ManifestName); {
	case err != nil:
		return nil, err
	case ok:
		return nil, fmt.Errorf("%s holds a repository already", s)
	}
	if d, ok := s.(*Directory); ok {
		if err := d.prepare(); err != nil {
			return nil, err
		}
	}
	scratch, unscratch, err := newScratch(o.Scratch)
	if err != nil {
		return nil, err
	}
	defer unscratch()
	return initialise(ctx, s, o, lease, scratch)
}

// prepare makes the directories that the official local backend makes.
func (d *Directory) prepare() error {
	if err := d.makeDirs(path.Join(d.root, "data", "x")); err != nil {
		return err
	}
	spread(path.Join(d.root, "data"))
	for i := range 256 {
		if err := d.makeDirs(path.Join(d.root, "data", fmt.Sprintf("%02x", i), "x")); err != nil {
			return err
		}
	}
	return nil
}

func initialise(ctx context.Context, s Storage, o InitOptions, lease Lease, scratch string) (*repo.Manifest, error) {
	now := o.Now()
	m := repo.Manifest{Name: o.FQRN, TTL: o.TTL, Revision: 1, Timestamp: now.Unix(), Collectable: !o.Uncollected, AltPaths: o.AltPaths}
	if m.TTL == 0 {
		m.TTL = 240
	}
	store := objectStore{s, o.Algorithm, o.Compression}
	ours, err := o.Keys.fingerprint()
	if err != nil {
		return nil, err
	}
	if err := writeWhitelist(ctx, s, o.FQRN, o.Keys, now, ours); err != nil {
		return nil, err
	}
	text := []byte(replicaText)
	if err := s.Put(ctx, replicaName, bytes.NewReader(text), int64(len(text)), Head); err != nil {
		return nil, err
	}
	root, err := emptyRoot(ctx, store, scratch, &m)
	if err != nil {
		return nil, err
	}
	m.Root, m.RootSize = root.hash, root.size
	h := head{manifest: m, history: &catalog.History{FQRN: o.FQRN}, metainfo: o.Metainfo}
	h.history.Set(catalog.Tag{Name: trunk, Hash: m.Root, Size: m.RootSize, Revision: 1, Timestamp: m.Timestamp, Description: "current HEAD"})
	if h.metainfo == nil {
		h.metainfo = defaultMetainfo(o.Description)
	}
	w := &headWriter{storage: s, store: store, keys: o.Keys, lease: lease, scratch: scratch}
	return w.write(ctx, h)
}

// emptyRoot writes a root catalog with nothing but its directory.
func emptyRoot(ctx context.Context, store objectStore, scratch string, m *repo.Manifest) (*buildingCatalog, error) {
	b := newBuilder(ctx, store, nil, plan{dirs: make([]dirPlan, 1)}, scratch)
	defer b.abort()
	b.props = catalog.Properties{Revision: m.Revision, LastModified: m.Timestamp, TTL: m.TTL}
	if err := b.dir(newDirectory("", m.Timestamp), nil); err != nil {
		return nil, err
	}
	if err := b.leave(); err != nil {
		return nil, err
	}
	return b.wait()
}
