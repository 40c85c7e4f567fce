package publish

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/cas"
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
	m, _ := repotest.Manifest(t, dir)
	s, err := OpenDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	return &testRepo{t: t, dir: s, s: s, keys: Keys{Public: public}, o: Options{
		FQRN: name, Scratch: tempDir(t), Now: func() time.Time { return time.Unix(m.Timestamp, 0) },
	}}
}

func TestCheckOfficial(t *testing.T) {
	large(t)
	for _, name := range repotest.OfficialNames {
		t.Run(name, func(t *testing.T) {
			r := officialRepo(t, name)
			o := CheckOptions{ReadOptions: ReadOptions{Options: r.o, Public: r.keys.Public}, Tags: true}
			o.Data = name != "bench.example.org" // 100 MB, of the same writer as the others
			report, err := Check(t.Context(), r.s, o)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range report.Problems {
				t.Error(p)
			}
			if report.Entries == 0 || report.Objects == 0 {
				t.Errorf("nothing was looked at: %+v", report)
			}
		})
	}
}

// adopt gives an official repository keys of our own, as its owner would who
// lost his.
func (r *testRepo) adopt() {
	r.t.Helper()
	keys, err := NewKeys(r.o.FQRN, time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	raw, err := readAll(r.t.Context(), r.s, repo.ManifestName, maxHeadFile)
	if err != nil {
		r.t.Fatal(err)
	}
	m, err := repo.ParseManifest(raw)
	if err != nil {
		r.t.Fatal(err)
	}
	store := objectStore{storage: r.s, algorithm: m.Root.Algorithm()}
	if m.Certificate, err = store.putBytes(r.t.Context(), keys.Certificate, cas.CertificateSuffix); err != nil {
		r.t.Fatal(err)
	}
	lease, err := r.s.Lock(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	w := &headWriter{storage: r.s, store: store, keys: keys, lease: lease, scratch: tempDir(r.t), before: raw}
	if m.Reflog, err = w.putReflog(r.t.Context(), m); err != nil {
		r.t.Fatal(err)
	}
	if err := w.sign(r.t.Context(), m); err != nil {
		r.t.Fatal(err)
	}
	if err := lease.Release(); err != nil {
		r.t.Fatal(err)
	}
	ours, err := keys.fingerprint()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := writeWhitelist(r.t.Context(), r.s, r.o.FQRN, keys, r.o.Now(), ours); err != nil {
		r.t.Fatal(err)
	}
	r.keys = keys
}

// TestExtendOfficial publishes on top of repositories that the official server
// wrote, in each hash algorithm, and reads what was there and what is new.
func TestExtendOfficial(t *testing.T) {
	large(t)
	for _, name := range []string{"small.example.org", "shake128.example.org", "hl.example.org"} {
		t.Run(name, func(t *testing.T) {
			r := officialRepo(t, name)
			r.adopt()
			before := r.read("")
			m := r.publish(func(tx *Tx) error {
				if err := tx.PutFile("/new/deep/file", 0o644, strings.NewReader("ours")); err != nil {
					return err
				}
				return tx.Replace("/tree", tx.items(t, map[string]file{
					"/tree": dirOf(2), "/tree/.cvmfscatalog": text(""), "/tree/f": text("f"),
				}))
			})
			after := r.read("")
			if after["/new/deep/file"].data != "ours" || after["/tree/f"].data != "f" {
				t.Error("what was published is not there")
			}
			for _, p := range []string{"", "/new", "/new/deep", "/new/deep/file", "/tree", "/tree/.cvmfscatalog", "/tree/f"} {
				delete(after, p)
				delete(before, p)
			}
			equalTrees(t, after, before)
			if !strings.HasSuffix(m.Root.String(), strings.TrimPrefix(m.Root.Algorithm().String(), "sha1")) {
				t.Errorf("new root catalog %s is not of the repository's algorithm", m.Root)
			}
			// Deep into a nested catalog, if there is one, and out again.
			dir := deepest(after)
			r.publish(func(tx *Tx) error { return tx.Symlink(dir+"/ours", "target") })
			r.check()
			r.publish(func(tx *Tx) error { return tx.Remove(dir + "/ours") })
			for c, err := range Diff(t.Context(), r.s, r.reading(), "", fmt.Sprint(m.Revision)) {
				t.Errorf("%s: differs: %v", c.Path, err)
			}
			r.check()
		})
	}
}

// deepest is the directory with the most components.
func deepest(tree map[string]file) string {
	deep := ""
	for p, f := range tree {
		if f.mode&unix.S_IFMT == unix.S_IFDIR && strings.Count(p, "/") > strings.Count(deep, "/") {
			deep = p
		}
	}
	return deep
}
