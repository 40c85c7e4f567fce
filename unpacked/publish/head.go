package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/repo"
)

// The files of a repository's root besides manifest and whitelist.
const (
	reflogName  = ".cvmfsreflog"
	replicaName = ".cvmfs_master_replica"
)

// head is what the next manifest is made of.
type head struct {
	manifest repo.Manifest
	history  *catalog.History // nil: as the manifest names it
	metainfo []byte           // nil: as the manifest names it
}

// headWriter stores heads. It is the only one that signs.
type headWriter struct {
	storage Storage
	store   objectStore
	keys    Keys
	lease   Lease
	scratch string
	before  []byte // the manifest that is to be replaced, nil for none
}

// write stores everything that the manifest names and last the manifest. On an
// error the repository still has its old head.
func (w *headWriter) write(ctx context.Context, h head) (*repo.Manifest, error) {
	m := h.manifest
	var err error
	if m.RootSize < 0 { // manifests need not tell it, but ours do
		if m.RootSize, err = catalogSize(ctx, w.storage, m.Root); err != nil {
			return nil, err
		}
	}
	if m.Certificate, err = w.store.putBytes(ctx, w.keys.Certificate, cas.CertificateSuffix); err != nil {
		return nil, fmt.Errorf("store certificate: %w", err)
	}
	if h.metainfo != nil {
		if m.Metainfo, err = w.store.putBytes(ctx, h.metainfo, cas.MetainfoSuffix); err != nil {
			return nil, fmt.Errorf("store metainfo: %w", err)
		}
	}
	if h.history != nil {
		if m.History, err = w.putHistory(ctx, h.history, m.History); err != nil {
			return nil, fmt.Errorf("store tags: %w", err)
		}
	}
	if m.Reflog, err = w.putReflog(ctx, &m); err != nil {
		return nil, fmt.Errorf("store reflog: %w", err)
	}
	if m.AltPaths {
		if err := w.putAlternatives(ctx, &m); err != nil {
			return nil, err
		}
	}
	return &m, w.sign(ctx, &m)
}

// sign replaces the manifest, if it is still the one that was to be replaced.
func (w *headWriter) sign(ctx context.Context, m *repo.Manifest) error {
	raw, err := repo.SignManifest(m, w.keys.Repository)
	if err != nil {
		return err
	}
	if err := w.lease.Valid(ctx); err != nil {
		return err
	}
	if err := replaceManifest(ctx, w.storage, w.before, raw); err != nil {
		return fmt.Errorf("publish revision %d of %s: %w", m.Revision, m.Name, err)
	}
	return nil
}

// errChanged is returned where the repository has another head than the one to
// be replaced.
var errChanged = errors.New("somebody else published meanwhile: run it again")

// replacer is a Storage that replaces a file only if it is what it was, in one
// step.
type replacer interface {
	replace(ctx context.Context, name string, last, next []byte) error
}

func replaceManifest(ctx context.Context, s Storage, last, next []byte) error {
	if r, ok := s.(replacer); ok {
		return r.replace(ctx, repo.ManifestName, last, next)
	}
	now, err := readAll(ctx, s, repo.ManifestName, maxHeadFile)
	if err != nil && !(errors.Is(err, fs.ErrNotExist) && last == nil) {
		return fmt.Errorf("read manifest: %w", err)
	}
	if !bytes.Equal(now, last) {
		return errChanged
	}
	return s.Put(ctx, repo.ManifestName, bytes.NewReader(next), int64(len(next)), Final)
}

// maxHeadFile bounds manifests and whitelists.
const maxHeadFile = 1 << 20

func (w *headWriter) putHistory(ctx context.Context, h *catalog.History, previous cas.Hash) (cas.Hash, error) {
	h.Previous = previous
	file := filepath.Join(w.scratch, "history")
	defer os.Remove(file)
	if err := catalog.WriteHistory(file, h); err != nil {
		return cas.Hash{}, err
	}
	return w.store.putFile(ctx, file, cas.HistorySuffix)
}

// putReflog adds what m names to the reflog. The stored one may be newer than
// the old manifest's Y: a run that was killed before its manifest left it. It
// names what that run stored, which is what garbage collection has to know.
func (w *headWriter) putReflog(ctx context.Context, m *repo.Manifest) (cas.Hash, error) {
	log, err := readReflog(ctx, w.storage, w.scratch)
	if errors.Is(err, fs.ErrNotExist) {
		log, err = &catalog.Reflog{FQRN: m.Name}, nil
	}
	if err != nil {
		return cas.Hash{}, err
	}
	for _, r := range []catalog.Ref{
		{Hash: m.Root, Type: catalog.RefCatalog}, {Hash: m.Certificate, Type: catalog.RefCertificate},
		{Hash: m.History, Type: catalog.RefHistory}, {Hash: m.Metainfo, Type: catalog.RefMetainfo},
	} {
		if !r.Hash.IsZero() {
			r.Timestamp = m.Timestamp
			log.Add(r)
		}
	}
	return w.replaceReflog(ctx, log, m.Root.Algorithm())
}

// replaceReflog stores a reflog, uncompressed as the format wants it, and
// returns the hash of the file.
func (w *headWriter) replaceReflog(ctx context.Context, log *catalog.Reflog, a cas.Algorithm) (cas.Hash, error) {
	file := filepath.Join(w.scratch, "reflog")
	defer os.Remove(file)
	if err := catalog.WriteReflog(file, log); err != nil {
		return cas.Hash{}, err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return cas.Hash{}, err
	}
	return cas.Sum(a, b), w.storage.Put(ctx, reflogName, bytes.NewReader(b), int64(len(b)), Head)
}

// readReflog reads the stored reflog; fs.ErrNotExist if there is none.
func readReflog(ctx context.Context, s Storage, scratch string) (log *catalog.Reflog, err error) {
	rc, err := s.Get(ctx, reflogName)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	f, err := createScratch(scratch)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := io.Copy(f, rc); err != nil {
		return nil, fmt.Errorf("read reflog: %w", err)
	}
	return catalog.ReadReflog(f)
}

// hashReflog is the hash of the stored reflog, which manifests name.
func hashReflog(ctx context.Context, s Storage, a cas.Algorithm) (cas.Hash, error) {
	rc, err := s.Get(ctx, reflogName)
	if err != nil {
		return cas.Hash{}, err
	}
	sum := a.New()
	_, err = io.Copy(sum, rc)
	if err := errors.Join(err, rc.Close()); err != nil {
		return cas.Hash{}, fmt.Errorf("read reflog: %w", err)
	}
	return cas.NewHash(a, sum.Sum(nil))
}

// putAlternatives copies root catalog and certificate into the repository's
// root, where clients look for them that may not see data/.
func (w *headWriter) putAlternatives(ctx context.Context, m *repo.Manifest) error {
	for _, o := range []cas.Object{{Hash: m.Root, Suffix: cas.CatalogSuffix}, {Hash: m.Certificate, Suffix: cas.CertificateSuffix}} {
		size, ok, err := w.storage.Has(ctx, o.Name())
		if err == nil && !ok {
			err = notExist(w.storage, o.Name())
		}
		if err != nil {
			return err
		}
		rc, err := w.storage.Get(ctx, o.Name())
		if err != nil {
			return err
		}
		err = w.storage.Put(ctx, o.AltName(), rc, size, Data)
		if err := errors.Join(err, rc.Close()); err != nil {
			return fmt.Errorf("copy %s: %w", o.AltName(), err)
		}
	}
	return nil
}
