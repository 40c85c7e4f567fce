package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
)

// maxSources bounds how many servers are asked for one signed file.
const maxSources = 8

// isTrust tells failures of verification from failures to ask: only the latter
// may be answered from the cache.
func isTrust(err error) bool {
	return slices.ContainsFunc([]error{ErrFormat, ErrWrongName, ErrWrongKey, ErrExpired, ErrBlacklisted, ErrNoTag,
		cas.ErrCorrupt, catalog.ErrCorrupt}, func(s error) bool { return errors.Is(err, s) })
}

// IsRefusal tells errors of servers whose answer is not taken from those of servers that do not answer.
func IsRefusal(err error) bool { return isTrust(err) || errors.Is(err, ErrRollback) }

// fetchManifest gets the manifest through the whole chain of trust; seen is the
// newest one known so far. The whitelist is asked for at the same time, to save a
// round trip, and judged when the certificate is here.
func (r *Repository) fetchManifest(ctx context.Context, seen cas.Breadcrumb) (*Manifest, error) {
	listCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	var cert *Certificate
	known, listed := make(chan struct{}), make(chan error, 1)
	go func() {
		listed <- r.checkWhitelist(listCtx, func() *Certificate { <-known; return cert })
	}()
	var m *Manifest
	abandon := func() {}
	err := r.fetchSigned(ctx, ManifestName, func(raw []byte) error {
		found, c, stop, err := r.checkManifest(ctx, raw, seen)
		m = found
		if err == nil {
			cert, abandon = c, stop
		}
		return err
	})
	close(known)
	if err != nil {
		cancel()
		<-listed
		return nil, err
	}
	if err = <-listed; err != nil && !isTrust(err) {
		// The manifest may have come from another server than the first one.
		err = r.checkWhitelist(ctx, func() *Certificate { return cert })
	}
	if err != nil {
		abandon()
		return nil, err
	}
	return m, nil
}

// maxAhead bounds the root catalogs that are fetched ahead.
const maxAhead = 64 << 20

// rootAhead begins to fetch the root catalog of a manifest that is not verified
// yet. That gives away nothing: the catalog is verified by its hash, and used only
// if the manifest turns out to be right. abandon ends it and returns when it has
// ended: the store may go away with a repository that is not opened.
func (r *Repository) rootAhead(ctx context.Context, m *Manifest) (abandon func()) {
	if r.cfg.Tag != "" || m.RootSize <= 0 || m.RootSize > maxAhead {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		f, err := r.cfg.Store.Open(ctx, cas.Object{Hash: m.Root, Suffix: cas.CatalogSuffix, Size: m.RootSize, Alternative: m.AltPaths, Pinned: true})
		if err == nil {
			f.Close()
		}
	}()
	return func() { cancel(); <-done }
}

// checkManifest verifies a manifest as far as its own certificate goes, the cheap
// and the local parts first. abandon ends what it begins to fetch; after an error
// that has ended.
func (r *Repository) checkManifest(ctx context.Context, raw []byte, seen cas.Breadcrumb) (m *Manifest, cert *Certificate, abandon func(), err error) {
	m, err = ParseManifest(raw)
	if err != nil {
		return nil, nil, nil, err
	}
	if m.Name != r.cfg.FQRN {
		return nil, nil, nil, fmt.Errorf("manifest: %w: it is that of %q", ErrWrongName, m.Name)
	}
	if m.Certificate.IsZero() {
		return nil, nil, nil, fmt.Errorf("manifest: %w: it names no certificate", ErrFormat)
	}
	abandon = r.rootAhead(ctx, m)
	defer func() {
		if err != nil {
			abandon()
		}
	}()
	cert, err = r.certificate(ctx, m)
	black := r.blacklist()
	if err == nil {
		err = m.Verify(cert.Key)
	}
	if err == nil {
		err = black.checkCertificate(cert)
	}
	if err == nil {
		err = black.checkRevision(m.Revision)
	}
	if err == nil && (m.Timestamp < seen.Timestamp || m.Revision < seen.Revision) {
		err = fmt.Errorf("manifest: revision %d of %s: %w, which was %d of %s", m.Revision, date(m.Timestamp),
			ErrRollback, seen.Revision, date(seen.Timestamp))
	}
	return m, cert, abandon, err
}

func (r *Repository) certificate(ctx context.Context, m *Manifest) (*Certificate, error) {
	text, err := r.small(ctx, cas.Object{Hash: m.Certificate, Suffix: cas.CertificateSuffix, Size: -1, Alternative: m.AltPaths})
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return ParseCertificate(text)
}

// checkWhitelist answers nil if there is no certificate to look for: then the
// manifest is what is wrong.
func (r *Repository) checkWhitelist(ctx context.Context, certificate func() *Certificate) error {
	return r.fetchSigned(ctx, WhitelistName, func(raw []byte) error {
		w, err := ParseWhitelist(raw)
		if err != nil {
			return err
		}
		if err := w.Verify(r.cfg.Keys, r.cfg.Now()); err != nil {
			return err
		}
		if w.Name != r.cfg.FQRN {
			return fmt.Errorf("whitelist: %w: it is that of %q", ErrWrongName, w.Name)
		}
		cert := certificate()
		if cert == nil {
			return nil
		}
		if !w.Allows(cert) {
			return fmt.Errorf("whitelist: %w: the manifest's certificate %s is not on it", ErrWrongKey,
				Fingerprint{Hash: cert.Fingerprint(cas.SHA1)})
		}
		return nil
	})
}

// fetchSigned gets a file that check verifies. What is wrong is asked for again,
// first past the proxies' caches, then from the other servers.
func (r *Repository) fetchSigned(ctx context.Context, name string, check func([]byte) error) error {
	req := cas.Request{Name: name}
	for try := 1; ; try++ {
		body, err := r.cfg.Fetcher.Fetch(ctx, req)
		if err != nil {
			return err
		}
		raw, err := io.ReadAll(io.LimitReader(body, maxLetter+1))
		if err == nil {
			err = check(raw)
		}
		again := false
		if b, ok := body.(cas.Body); ok && IsRefusal(err) {
			if !errors.Is(err, cas.ErrCorrupt) { // of the certificate: it names its own source
				err = fmt.Errorf("%w (from %s)", err, b.Source())
			}
			again = !req.NoCache || b.Reject(err)
		}
		body.Close()
		if err == nil || !again || try == maxSources {
			return err
		}
		req.NoCache = true
	}
}

// maxSmall bounds the objects that are read into memory.
const maxSmall = 16 << 20

// small reads a whole object.
func (r *Repository) small(ctx context.Context, o cas.Object) ([]byte, error) {
	f, err := r.cfg.Store.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSmall+1))
	if err == nil && len(text) > maxSmall {
		err = fmt.Errorf("object %v: %w: more than %d bytes", o, ErrFormat, maxSmall)
	}
	return text, err
}
