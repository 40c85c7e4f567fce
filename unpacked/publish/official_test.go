package publish

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/mount/repotest"
)

// officialRepo is a writable copy of an official repository, read at the time
// it was published.
func officialRepo(t *testing.T, name string) *testRepo {
	t.Helper()
	dir, key := repotest.Official(t, name)
	public, err := repo.LoadKeys(key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, repo.ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	m, err := repo.ParseManifest(raw)
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	return &testRepo{t: t, dir: s, s: s, keys: Keys{Public: public}, o: Options{
		FQRN: name, Scratch: tempDir(t), Now: func() time.Time { return time.Unix(m.Timestamp, 0) },
	}}
}

func TestCheckOfficial(t *testing.T) {
	for _, name := range repotest.OfficialNames {
		t.Run(name, func(t *testing.T) { officialRepo(t, name).check() })
	}
}
