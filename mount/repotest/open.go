package repotest

import (
	"context"
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
	return repo.Config{
		FQRN: fqrn, Keys: keys, Cache: cache, Fetcher: from,
		Store: &cas.Remote{Cache: cache, Main: from, External: from},
	}
}

// Open opens a repository until the end of the test.
func Open(t testing.TB, cfg repo.Config) *repo.Repository {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := repo.Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}
