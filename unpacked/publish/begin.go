package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/repo"
)

// Begin takes the publisher's lock and opens the newest revision. It refuses
// keys that the repository's whitelist does not allow: clients would refuse
// what they sign.
func Begin(ctx context.Context, s Storage, keys Keys, o Options) (*Tx, error) {
	o.fill()
	lease, err := o.lock(ctx, s)
	if err != nil {
		return nil, err
	}
	return begin(ctx, s, keys, o, lease)
}

// begin is Begin under a lock that is held; it is released with the transaction, or here on an error.
func begin(ctx context.Context, s Storage, keys Keys, o Options, lease Lease) (tx *Tx, err error) {
	tx = &Tx{o: o, keys: keys, storage: s, lease: lease, now: o.Now()}
	defer func() {
		if err != nil {
			tx.discard()
			tx = nil
		}
	}()
	if tx.scratch, tx.unscratch, err = newScratch(o.Scratch); err != nil {
		return tx, err
	}
	if tx.before, err = readAll(ctx, s, repo.ManifestName, maxHeadFile); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s holds no repository: is it mounted there? --storage says where it is, flathub init %s makes a new one", s, o.FQRN)
		}
		return tx, err
	}
	if tx.repo, err = openRepository(ctx, s, keys, o, tx.scratch, ""); err != nil {
		return tx, err
	}
	tx.rev = tx.repo.Head()
	m := tx.rev.Manifest()
	tx.store = objectStore{s, o.Algorithm, o.Compression}
	if o.Algorithm == 0 {
		tx.store.algorithm = m.Root.Algorithm()
	}
	tx.base = &baseTree{open: tx.rev.Catalog, rootHash: m.Root, rootSize: m.RootSize}
	tx.ingester = newIngester(tx.store, o.Chunks, o.Workers, &tx.Stats)
	tx.ingester.contents = newContents(s, o.FQRN, keys.Repository, o.Log)
	return tx, checkCertificate(ctx, s, keys, o)
}

func (o *Options) fill() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// discard undoes a Begin that went wrong.
func (tx *Tx) discard() {
	if tx.ingester != nil {
		tx.ingester.close()
	}
	if tx.repo != nil {
		tx.repo.Close()
	}
	if tx.unscratch != nil {
		tx.unscratch()
	}
	tx.lease.Release()
}

// openRepository verifies a repository as a client does, with the scratch
// directory for a cache. tag is "" for its head.
func openRepository(ctx context.Context, s Storage, keys Keys, o Options, scratch, tag string) (*repo.Repository, error) {
	r, err := repo.Open(ctx, repo.Config{
		FQRN: o.FQRN, Fetcher: Fetcher(s), Store: &scratchStore{s, scratch},
		Keys: keys.Public, Tag: tag, Now: o.Now, Log: o.Log,
	})
	if errors.Is(err, repo.ErrExpired) {
		err = fmt.Errorf("%w: flathub resign %s", err, o.FQRN)
	}
	return r, err
}

// resignBefore is how long before the end of a whitelist publishers say so: nobody else sees it come.
const resignBefore = 10 * 24 * time.Hour

// checkCertificate makes sure that the whitelist names our certificate, and says so if that ends soon.
func checkCertificate(ctx context.Context, s Storage, keys Keys, o Options) error {
	fqrn := o.FQRN
	if keys.Repository == nil {
		return fmt.Errorf("publish %s: no repository key: pass the directory that holds %s.key", fqrn, fqrn)
	}
	list, err := readWhitelist(ctx, s)
	if err != nil {
		return err
	}
	cert, err := repo.ParseCertificate(keys.Certificate)
	if err != nil {
		return err
	}
	if !list.Allows(cert) {
		return fmt.Errorf("publish %s: its whitelist does not allow our certificate: flathub resign %s with the master key", fqrn, fqrn)
	}
	if left := list.Expires.Sub(o.Now()); left < resignBefore {
		o.Log.Warn("the whitelist ends soon, and clients refuse the repository then: flathub resign "+fqrn, "days", int(left.Hours()/24))
	}
	return nil
}

// history reads the tags of the base.
func (tx *Tx) history(ctx context.Context) (*catalog.History, error) {
	return readHistory(ctx, tx.storage, tx.rev.Manifest(), tx.scratch)
}

func readHistory(ctx context.Context, s Storage, m *repo.Manifest, scratch string) (*catalog.History, error) {
	if m.History.IsZero() {
		return &catalog.History{FQRN: m.Name}, nil
	}
	b, err := cas.ReadVerified(ctx, Fetcher(s), cas.Object{Hash: m.History, Suffix: cas.HistorySuffix, Size: -1})
	if err != nil {
		return nil, fmt.Errorf("read tags: %w", err)
	}
	f, err := createScratch(scratch)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return nil, fmt.Errorf("scratch file: %w", err)
	}
	return catalog.ReadHistory(f)
}
