package repotest

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/repo"
)

// Config is what opens the repository that a directory holds, with a cache of
// its own.
func Config(t testing.TB, fqrn, dir string, keyPaths ...string) repo.Config {
	t.Helper()
	return ConfigFrom(t, fqrn, cas.Dir(dir), t.TempDir(), keyPaths...)
}

// ConfigFrom is Config for any source of files and a given cache directory.
func ConfigFrom(t testing.TB, fqrn string, from cas.Fetcher, cacheDir string, keyPaths ...string) repo.Config {
	t.Helper()
	keys, err := repo.LoadKeys(keyPaths...)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := cas.OpenCache(cas.CacheConfig{Dir: cacheDir})
	if err != nil {
		t.Fatal(err)
	}
	store := &cas.Remote{Cache: cache, Main: from, External: from}
	t.Cleanup(store.Close) // before the directories go
	return repo.Config{FQRN: fqrn, Keys: keys, Cache: cache, Fetcher: from, Store: store}
}

// Open opens a repository until the end of the test.
func Open(t testing.TB, cfg repo.Config) *repo.Repository {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	r, err := repo.Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// Manifest reads the manifest of the repository that a directory holds, signature and all in raw.
func Manifest(t testing.TB, dir string) (m *repo.Manifest, raw []byte) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, repo.ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	if m, err = repo.ParseManifest(raw); err != nil {
		t.Fatal(err)
	}
	return m, raw
}

// Direct is a Store without a cache: it fetches an object each time. Making a
// cache takes longer than most tests.
type Direct struct{ Main, External cas.Fetcher }

func (d Direct) Open(ctx context.Context, o cas.Object) (*os.File, error) {
	from := d.Main
	if o.External != "" {
		from = d.External
	}
	content, err := cas.ReadVerified(ctx, from, o)
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp("", "object")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name())
	if _, err := f.Write(content); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
