package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/repo"
)

// whitelistLife is how long a whitelist stands that is signed with a key file.
const whitelistLife = 30 * 24 * time.Hour

// fingerprint is how whitelists name the keys' certificate.
func (k Keys) fingerprint() (repo.Fingerprint, error) {
	cert, err := repo.ParseCertificate(k.Certificate)
	if err != nil {
		return repo.Fingerprint{}, err
	}
	return repo.Fingerprint{Hash: cert.Fingerprint(cas.SHA1)}, nil
}

// writeWhitelist allows certificates for the next 30 days.
func writeWhitelist(ctx context.Context, s Storage, fqrn string, keys Keys, now time.Time, allowed ...repo.Fingerprint) error {
	if keys.Master == nil {
		return fmt.Errorf("sign whitelist of %s: no master key: run it where %s.masterkey is", fqrn, fqrn)
	}
	list := &repo.Whitelist{Created: now, Expires: now.Add(whitelistLife), Name: fqrn, Fingerprints: allowed}
	raw, err := repo.SignWhitelist(list, cas.SHA1, keys.Master)
	if err != nil {
		return err
	}
	return s.Put(ctx, repo.WhitelistName, bytes.NewReader(raw), int64(len(raw)), Head)
}

func readWhitelist(ctx context.Context, s Storage) (*repo.Whitelist, error) {
	raw, err := readAll(ctx, s, repo.WhitelistName, maxHeadFile)
	if err != nil {
		return nil, fmt.Errorf("read whitelist: %w", err)
	}
	return repo.ParseWhitelist(raw)
}

// Resign signs the whitelist anew with the master key, for 30 days, and the
// manifest with the repository key, and packs the metainfo anew, see
// checker.packing. Where ours is among the allowed certificates
// the others stay allowed; where it is new it replaces them.
func Resign(ctx context.Context, s Storage, keys Keys, o Options) (err error) {
	o.fill()
	ours, err := keys.fingerprint()
	if err != nil {
		return err
	}
	// One lock for all of it: what another one signed before is read under it,
	// and nobody signs a manifest that the last whitelist would not allow.
	lease, err := o.lock(ctx, s)
	if err != nil {
		return err
	}
	defer func() {
		if e := lease.Release(); err == nil {
			err = e
		}
	}()
	allow := func(allowed ...repo.Fingerprint) error {
		if err := lease.Valid(ctx); err != nil {
			return err
		}
		return writeWhitelist(ctx, s, o.FQRN, keys, o.Now(), allowed...)
	}
	list, err := readWhitelist(ctx, s)
	if err != nil {
		return err
	}
	// What a list says that our master key did not sign is nobody's word. That
	// it has expired is why we are here.
	if err := list.Verify(keys.Public, list.Created); err != nil {
		return err
	}
	known := slices.ContainsFunc(list.Fingerprints, func(f repo.Fingerprint) bool { return f.Hash == ours.Hash })
	both := list.Fingerprints
	if !known {
		both = append(both, ours) // until the manifest is signed with the new key
	}
	if err := allow(both...); err != nil {
		return err
	}
	tx, err := begin(ctx, s, keys, o, heldLease{lease})
	if err != nil {
		return err
	}
	if _, err := tx.editHead(ctx, packMetainfo(ctx)); err != nil || known {
		return err
	}
	return allow(ours)
}

// packMetainfo has the present metainfo stored anew.
func packMetainfo(ctx context.Context) func(*Tx, *head) error {
	return func(tx *Tx, h *head) error {
		o := cas.Object{Hash: h.manifest.Metainfo, Suffix: cas.MetainfoSuffix, Size: -1}
		if o.Hash.IsZero() {
			return nil
		}
		b, err := cas.ReadVerified(ctx, Fetcher(tx.storage), o)
		if errors.Is(err, fs.ErrNotExist) { // a check tells; there is nothing to be done here
			return nil
		}
		if err != nil {
			return fmt.Errorf("read metainfo: %w", err)
		}
		h.metainfo = slices.Clone(b)
		return nil
	}
}

// heldLease is a lock that outlives the transaction under it.
type heldLease struct{ Lease }

func (heldLease) Release() error { return nil }
