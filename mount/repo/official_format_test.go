package repo_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/mount/repotest"
)

// TestOfficialForms: what we would write is what the official server wrote.
func TestOfficialForms(t *testing.T) {
	for _, name := range []string{"small.example.org", "shake128.example.org", "hl.example.org"} {
		dir, key := repotest.Official(t, name)
		keys, err := repo.LoadKeys(key)
		if err != nil {
			t.Fatal(err)
		}
		m, raw := repotest.Manifest(t, dir)
		if text := string(m.Marshal()); !strings.HasPrefix(string(raw), text+"--\n") {
			t.Errorf("%s: manifest written as\n%s\nis\n%.600s", name, text, raw)
		}
		if raw, err = os.ReadFile(filepath.Join(dir, repo.WhitelistName)); err != nil {
			t.Fatal(err)
		}
		w, err := repo.ParseWhitelist(raw)
		if err != nil {
			t.Fatal(err)
		}
		if text := string(w.Marshal()); !strings.HasPrefix(string(raw), text+"--\n") {
			t.Errorf("%s: whitelist written as\n%s\nis\n%.300s", name, text, raw)
		}
		if err := w.Verify(keys, time.Date(2036, 11, 20, 0, 0, 0, 0, time.UTC)); err != nil {
			t.Error(err)
		}
		if err := w.Verify(keys, time.Date(2036, 11, 21, 0, 0, 0, 0, time.UTC)); err == nil {
			t.Errorf("%s: the whitelist does not expire", name)
		}
	}
}

func BenchmarkChild(b *testing.B) {
	v, dir := benchDir(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Child(context.Background(), dir, "ls"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkListBin(b *testing.B) {
	v, dir := benchDir(b)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n = 0
		if err := v.List(context.Background(), dir, func(repo.Node) error { n++; return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/entry")
}

// benchDir is /usr/bin of the image.
func benchDir(b *testing.B) (*repo.Revision, repo.Node) {
	const name = "bench.example.org"
	dir, key := repotest.Official(b, name)
	v := repotest.Open(b, repotest.Config(b, name, dir, key)).Head()
	n, err := v.Lookup(context.Background(), "/.flat/ab/abcdef0123456789/usr/bin")
	if err != nil {
		b.Fatal(err)
	}
	return v, n
}
