package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/config"
	"github.com/flatrun/flatrun/mount/prefetch"
	"github.com/flatrun/flatrun/mount/session"
)

// says runs a command line, and returns what it prints.
func says(t *testing.T, args ...string) (string, error) {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stdout := os.Stdout
	os.Stdout = f
	defer func() { os.Stdout = stdout }()
	err = run(t.Context(), args)
	text, readErr := os.ReadFile(f.Name())
	if readErr != nil {
		t.Fatal(readErr)
	}
	return string(text), err
}

// newCache configures a cache with n objects of 100 bytes.
func newCache(t *testing.T, n int) (dir string, hashes []string) {
	t.Helper()
	for _, o := range config.Overrides() {
		t.Setenv(o.Name, "")
	}
	dir = filepath.Join(t.TempDir(), "cache")
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "cvmfs_dir: %s\ncache: {dir: %s, limit: 10kB}\n", t.TempDir(), dir), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("FLATRUN_CONFIG", file)
	if n == 0 {
		return dir, nil
	}
	cache, err := cas.OpenCache(cas.CacheConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	depot := t.TempDir()
	r := &cas.Remote{Cache: cache, Main: cas.Dir(depot)}
	t.Cleanup(r.Close)
	for i := range n {
		content := fmt.Appendf(nil, "%0100d", i)
		o := cas.Object{Hash: cas.Sum(cas.SHA1, content), Compression: cas.None, Size: 100, Pinned: i == 0}
		path := filepath.Join(depot, o.Name())
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := r.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		hashes = append(hashes, o.Hash.String())
	}
	if err := cache.SetBreadcrumb("a.example.org", cas.Breadcrumb{Root: cas.Sum(cas.SHA1, nil), Timestamp: 1.7e9, Revision: 7}); err != nil {
		t.Fatal(err)
	}
	return dir, hashes
}

func TestCacheInfoAndList(t *testing.T) {
	dir, hashes := newCache(t, 12)
	text, err := says(t, "cache", "info")
	for _, want := range []string{dir, "12, 1.2 kB, of 10 kB", "pinned      1", "a.example.org revision 7"} {
		if err != nil || !strings.Contains(text, want) {
			t.Errorf("info lacks %q: %s, %v", want, text, err)
		}
	}
	t.Setenv("FLATRUN_CACHE_LOWER", dir+":/no/such")
	text, err = says(t, "cache", "--json", "info")
	var r cacheReport
	if err != nil || json.Unmarshal([]byte(text), &r) != nil || r.Objects != 12 || r.PinnedObjects != 1 || r.Limit != 10000 || len(r.Lower) != 2 ||
		r.Lower[0].Objects != 12 || r.Lower[1].Error == "" || len(r.Repositories) != 1 || r.LastUsed == nil {
		t.Errorf("info --json: %s, %v", text, err)
	}
	for pattern, want := range map[string]int{"": 12, hashes[3]: 1, hashes[3][:30]: 1, "*" + hashes[4][20:]: 1, "none": 0} {
		text, err := says(t, "cache", "list", pattern)
		if err != nil || strings.Count(text, "\n") != want {
			t.Errorf("list %q: %s, %v", pattern, text, err)
		}
	}
	var all []listed
	text, err = says(t, "cache", "list", "--json")
	if err != nil || json.Unmarshal([]byte(text), &all) != nil || len(all) != 12 || all[0].Bytes != 100 {
		t.Errorf("list --json: %s, %v", text, err)
	}
}

func TestCacheOfNobody(t *testing.T) {
	dir, _ := newCache(t, 0)
	for _, verb := range []string{"info", "list", "verify"} {
		if text, err := says(t, "cache", verb); err != nil {
			t.Errorf("%s: %s, %v", verb, text, err)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("looking at a cache made one")
	}
}

func TestCacheClean(t *testing.T) {
	_, _ = newCache(t, 12)
	for _, step := range []struct {
		args string
		want string
	}{
		{"", "removed 0 objects"}, {"--days 1", "removed 0 objects"}, {"--size 500 --dry-run", "would remove 700 B; would leave 500 B"},
		{"--all --dry-run", "would remove 1.2 kB; would leave 0 B"}, {"--size 500", "removed 7 objects, 700 B; left 5, 500 B"}, {"--days 0", "removed 4 objects, 400 B; left 1"},
		{"--all", "removed 1 objects, 100 B; left 0"},
	} {
		text, err := says(t, append([]string{"cache", "clean"}, strings.Fields(step.args)...)...)
		if err != nil || !strings.Contains(text, step.want) {
			t.Errorf("clean %s: %s, %v", step.args, text, err)
		}
	}
}

// What packs brought is counted and cleaned with the rest; profiles go when all goes.
func TestCacheBeside(t *testing.T) {
	dir, _ := newCache(t, 5)
	other, _ := newCache(t, 10)
	t.Setenv("FLATRUN_CACHE_DIR", dir)
	pack := filepath.Join(dir, "packs", "a.example.org")
	if err := os.CopyFS(pack, os.DirFS(other)); err != nil {
		t.Fatal(err)
	}
	if err := session.Profiles(dir).Save(cas.Sum(cas.SHA1, nil), &prefetch.Profile{}); err != nil {
		t.Fatal(err)
	}
	var r cacheReport
	text, err := says(t, "cache", "info", "--json")
	if err != nil || json.Unmarshal([]byte(text), &r) != nil || r.Objects != 5 || len(r.Packs) != 1 || r.Packs[0] != (packReport{"a.example.org", 1000, 10, 1250}) || r.Profiles != 1 {
		t.Errorf("info --json: %s, %v", text, err)
	}
	for _, step := range []struct{ args, want string }{
		{"", "removed 0 objects"}, {"--size 900", "removed 6 objects, 600 B; left 9, 900 B"}, {"--all", "removed 9 objects, 900 B; left 0, 0 B\nremoved the profiles of 1 images"},
	} {
		text, err := says(t, append([]string{"cache", "clean"}, strings.Fields(step.args)...)...)
		if err != nil || !strings.Contains(text, step.want) {
			t.Errorf("clean %s: %s, %v", step.args, text, err)
		}
	}
}

func TestCacheVerify(t *testing.T) {
	dir, hashes := newCache(t, 3)
	h := hashes[1]
	if err := os.WriteFile(filepath.Join(dir, h[:2], h[2:]), []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := says(t, "cache", "verify")
	if strings.Contains(text, "without a checksum 1") {
		t.Skip("the file system takes no extended attributes")
	}
	if err == nil || !strings.Contains(err.Error(), "--repair") || !strings.Contains(text, "corrupt "+h) {
		t.Errorf("verify: %s, %v", text, err)
	}
	if text, err := says(t, "cache", "verify", "--repair"); err != nil || !strings.Contains(text, "good 2, corrupt 1") {
		t.Errorf("repair: %s, %v", text, err)
	}
	if text, err := says(t, "cache", "verify"); err != nil || !strings.Contains(text, "good 2, corrupt 0") {
		t.Errorf("afterwards: %s, %v", text, err)
	}
}

func TestCacheExportImport(t *testing.T) {
	newCache(t, 12)
	file := filepath.Join(t.TempDir(), "file")
	if text, err := says(t, "cache", "export", file); err != nil || !strings.Contains(text, "exported 12 objects, 1.2 kB") {
		t.Fatalf("%s, %v", text, err)
	}
	newCache(t, 0)
	if text, err := says(t, "cache", "import", file); err != nil || !strings.Contains(text, "imported 12 objects") {
		t.Errorf("%s, %v", text, err)
	}
	if text, err := says(t, "cache", "info"); err != nil || !strings.Contains(text, "12, 1.2 kB") || !strings.Contains(text, "revision 7") {
		t.Errorf("%s, %v", text, err)
	}
	if err := os.Truncate(file, 500); err != nil {
		t.Fatal(err)
	}
	if _, err := says(t, "cache", "import", file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("import of half a file: %v", err)
	}
}

func TestCacheUsage(t *testing.T) {
	newCache(t, 0)
	file := filepath.Join(t.TempDir(), "file")
	for args, want := range map[string]string{
		"cache frob": "usage:", "cache export": "usage:", "cache import": "usage:", "cache info x": "takes no", "cache": "usage:",
		"cache clean --size 1 --all": "not both", "cache clean --days 1 --all": "not several of them", "cache clean --size x": "size", "cache list [": "pattern", "cache import /no/such": "/no/such",
		"cache export " + file: "nothing to export", "prefetch": "usage:", "prefetch a --all --profile": "not both", "prefetch /cvmfs/a.b/c": "a.b",
	} {
		if _, err := says(t, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

func TestProgress(t *testing.T) {
	var b strings.Builder
	s := state{done: 5, total: 10, doneBytes: 50e6, totalBytes: 100e6, counting: true}
	p := &progress{w: &b, verb: "fetched", began: time.Now().Add(-time.Hour)}
	p.show(s)
	if got := b.String(); !strings.HasPrefix(got, "fetched 5 of 10+ objects, 50 MB, ") || !strings.HasSuffix(got, "/s\n") {
		t.Errorf("%q", got)
	}
	b.Reset()
	p = &progress{w: &b, tty: true, width: 80, verb: "fetched", began: time.Now().Add(-time.Hour)}
	p.show(s)
	p.clear()
	p.clear()
	if got := b.String(); !strings.HasPrefix(got, "\r[##########..........] fetched 5 of 10+") || !strings.HasSuffix(got, " \r") || strings.Count(got, "\r") != 3 {
		t.Errorf("%q", got)
	}
	b.Reset()
	p = &progress{w: &b, every: time.Hour, began: time.Now(), shown: time.Now()}
	if p.show(s); b.Len() > 0 {
		t.Errorf("too soon: %q", b.String())
	}
	newProgress(2, "x").clear()
}
