package repotest

import (
	"crypto/rsa"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/repo"
)

// Spec describes a repository to build. Zero values: "test.example.org", SHA-1,
// zlib, and a first revision that is empty.
type Spec struct {
	FQRN        string
	Algorithm   cas.Algorithm
	Compression cas.Compression // of file contents
	AltPaths    bool
	Tree        []File
	Tag         string            // of the first revision
	Patch       func(Catalog)     // sees each catalog before it is stored
	Expires     time.Time         // of the whitelist; zero is ten years from now
	Masters     []*rsa.PrivateKey // the whitelist is signed with the first; nil for one made here
}

// File is an entry of the tree. A parent directory that the tree lacks is made.
type File struct {
	Path    string // absolute
	Kind    Kind
	Perm    uint32 // 0: 0755 for directories, 0777 for links, else 0644
	Content string // of a regular file; target of a link
	Xattrs  map[string]string
	UID     uint32
	GID     uint32
	Mtime   int64 // seconds; 0 is the revision's
	Nsec    int32 // 0 is absent
	Rdev    int64 // of devices
	Group   uint32
	Chunk   int // bytes a chunk of a regular file, 0 for one object
	Flags   catalog.Flags
	// Nested directories get a catalog of their own.
	Nested bool
	// Bind makes a directory a bind mountpoint of the root catalog of this tag.
	Bind string
	// External content lies below Repo.ExternalDir in place of the storage.
	External bool
}

// Kind is a type of file.
type Kind uint32

// The kinds of files; the zero value is a regular one.
const (
	Regular Kind = 0
	Dir     Kind = 0o040000
	Link    Kind = 0o120000
	Fifo    Kind = 0o010000
	Socket  Kind = 0o140000
	Char    Kind = 0o020000
	Block   Kind = 0o060000
)

// Catalog is a finished catalog file that Spec.Patch may spoil.
type Catalog struct{ Prefix, File string }

// Repo is a signed repository in a directory.
type Repo struct {
	Dir         string // what a web server would serve
	ExternalDir string // what the external server would serve
	FQRN        string
	KeyPath     string // the master key's public half
	Master      *rsa.PrivateKey
	Key         *rsa.PrivateKey // of the certificate
	Certificate []byte          // PEM
	Manifest    repo.Manifest   // as last signed

	spec    Spec
	history catalog.History
	reflog  catalog.Reflog
	scratch string
}

// Build makes a repository with keys of its own and publishes spec.Tree as its
// first revision.
func Build(t testing.TB, spec Spec) *Repo {
	t.Helper()
	if spec.FQRN == "" {
		spec.FQRN = "test.example.org"
	}
	if spec.Algorithm == 0 {
		spec.Algorithm = cas.SHA1
	}
	if spec.Expires.IsZero() {
		spec.Expires = time.Now().AddDate(10, 0, 0)
	}
	if spec.Masters == nil {
		spec.Masters = []*rsa.PrivateKey{Key(t, 0)}
	}
	base := t.TempDir()
	r := &Repo{spec: spec, FQRN: spec.FQRN, Dir: filepath.Join(base, "repository"), ExternalDir: filepath.Join(base, "external"),
		KeyPath: filepath.Join(base, spec.FQRN+".pub"), Master: spec.Masters[0], Key: Key(t, 1), scratch: filepath.Join(base, "scratch"),
		history: catalog.History{FQRN: spec.FQRN}, reflog: catalog.Reflog{FQRN: spec.FQRN}}
	for _, dir := range []string{r.Dir, r.ExternalDir, r.scratch} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	public, err := repo.MarshalKey(&r.Master.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	write(t, r.KeyPath, public)
	r.Certificate = certificate(t, r.Key, spec.FQRN)
	r.Manifest.Name, r.Manifest.TTL, r.Manifest.AltPaths, r.Manifest.Collectable = spec.FQRN, 240, spec.AltPaths, true
	r.SignWhitelist(t, nil)
	r.Publish(t, Rev{Tree: spec.Tree, Tag: spec.Tag, Patch: spec.Patch})
	return r
}

// Config opens the repository from its directory.
func (r *Repo) Config(t testing.TB) repo.Config {
	t.Helper()
	return r.ConfigFrom(t, cas.Dir(r.Dir))
}

// Uncached is Config without a cache, and so without breadcrumbs.
func (r *Repo) Uncached(t testing.TB) repo.Config {
	t.Helper()
	keys, err := repo.LoadKeys(r.KeyPath)
	if err != nil {
		t.Fatal(err)
	}
	return repo.Config{FQRN: r.FQRN, Keys: keys, Fetcher: cas.Dir(r.Dir), Store: Direct{cas.Dir(r.Dir), cas.Dir(r.ExternalDir)}}
}

// ConfigFrom opens the repository from elsewhere, with an empty cache.
func (r *Repo) ConfigFrom(t testing.TB, from cas.Fetcher) repo.Config {
	t.Helper()
	cfg := ConfigFrom(t, r.FQRN, from, t.TempDir(), r.KeyPath)
	cfg.Store.(*cas.Remote).External = cas.Dir(r.ExternalDir)
	return cfg
}

// SignWhitelist writes the whitelist, changed by edit.
func (r *Repo) SignWhitelist(t testing.TB, edit func(*repo.Whitelist)) {
	t.Helper()
	c, err := repo.ParseCertificate(r.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	w := &repo.Whitelist{Created: time.Now(), Expires: r.spec.Expires, Name: r.FQRN,
		Fingerprints: []repo.Fingerprint{{Hash: c.Fingerprint(r.spec.Algorithm), Comment: "made by repotest"}}}
	if edit != nil {
		edit(w)
	}
	raw, err := repo.SignWhitelist(w, cas.SHA1, r.Master)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(r.Dir, repo.WhitelistName), raw)
}

// SignManifest writes the manifest, changed by edit; the change does not stay.
func (r *Repo) SignManifest(t testing.TB, edit func(*repo.Manifest)) {
	t.Helper()
	m := r.Manifest
	if edit != nil {
		edit(&m)
	}
	raw, err := repo.SignManifest(&m, r.Key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(r.Dir, repo.ManifestName), raw)
}

// Path is the file that holds an object.
func (r *Repo) Path(o cas.Object) string { return filepath.Join(r.Dir, filepath.FromSlash(o.Name())) }

func write(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}
