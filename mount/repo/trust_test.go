package repo_test

import (
	"bytes"
	"context"
	"crypto/rsa"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/mount/repotest"
)

// tree is a small repository with everything that can be spoiled.
func tree() []repotest.File {
	return []repotest.File{
		{Path: "/file", Content: "hello\n", Xattrs: map[string]string{"user.a": "b"}},
		{Path: "/dir/nested", Kind: repotest.Dir, Nested: true},
		{Path: "/dir/nested/inner", Content: "inside\n"},
		{Path: "/big", Content: strings.Repeat("0123456789", 100), Chunk: 300},
		{Path: "/link", Kind: repotest.Link, Content: "$(VAR:-file)"},
	}
}

// edit rewrites a file of the repository.
func edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, change(b), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte {
		if at < 0 {
			at += len(b)
		}
		b[at] ^= 1
		return b
	}
}

func replace(old, new string) func([]byte) []byte {
	return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(new), 1) }
}

// readEverything opens a repository and reads all there is.
func readEverything(cfg repo.Config) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	r, err := repo.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer r.Close()
	v := r.Head()
	var walk func(n repo.Node) error
	walk = func(n repo.Node) error {
		if n.Entry.IsDir() {
			return v.List(ctx, n, walk)
		}
		if _, err := v.Xattrs(ctx, n); err != nil {
			return err
		}
		if !n.Entry.IsRegular() {
			return nil
		}
		_, err := v.ReadFile(ctx, n, 1<<20)
		return err
	}
	return walk(v.Root())
}

// TestCorruptRepositories spoils a repository in one place each. All of them must
// end in an error that says what is wrong.
func TestCorruptRepositories(t *testing.T) {
	manifest := func(r *repotest.Repo) string { return filepath.Join(r.Dir, repo.ManifestName) }
	whitelist := func(r *repotest.Repo) string { return filepath.Join(r.Dir, repo.WhitelistName) }
	root := func(r *repotest.Repo) string {
		return r.Path(cas.Object{Hash: r.Manifest.Root, Suffix: cas.CatalogSuffix})
	}
	certificate := func(r *repotest.Repo) string {
		return r.Path(cas.Object{Hash: r.Manifest.Certificate, Suffix: cas.CertificateSuffix})
	}
	file := func(r *repotest.Repo, n string) string { return r.Path(object(t, r, n)) }
	sign := func(edit func(*repo.Manifest)) func(*testing.T, *repotest.Repo) {
		return func(t *testing.T, r *repotest.Repo) { r.SignManifest(t, edit) }
	}
	list := func(edit func(*repo.Whitelist)) func(*testing.T, *repotest.Repo) {
		return func(t *testing.T, r *repotest.Repo) { r.SignWhitelist(t, edit) }
	}
	bytesOf := func(path func(*repotest.Repo) string, change func([]byte) []byte) func(*testing.T, *repotest.Repo) {
		return func(t *testing.T, r *repotest.Repo) { edit(t, path(r), change) }
	}
	remove := func(path func(*repotest.Repo) string) func(*testing.T, *repotest.Repo) {
		return func(t *testing.T, r *repotest.Repo) {
			if err := os.Remove(path(r)); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name  string
		spoil func(*testing.T, *repotest.Repo)
		is    error
		says  string
	}{
		{"manifest absent", remove(manifest), fs.ErrNotExist, ".cvmfspublished"},
		{"manifest empty", bytesOf(manifest, func([]byte) []byte { return nil }), repo.ErrFormat, "no signature"},
		{"manifest is a web page", bytesOf(manifest, func([]byte) []byte { return []byte("<html>captive portal</html>\n") }), repo.ErrFormat, "no signature"},
		{"manifest cut in its signature", bytesOf(manifest, func(b []byte) []byte { return b[:len(b)-10] }), repo.ErrWrongKey, "not signed by its certificate"},
		{"manifest cut before its signature", bytesOf(manifest, func(b []byte) []byte { return b[:bytes.Index(b, []byte("--\n"))+10] }), repo.ErrFormat, "ends before"},
		{"manifest's signature flipped", bytesOf(manifest, flip(-1)), repo.ErrWrongKey, "not signed by its certificate"},
		{"manifest's text flipped", bytesOf(manifest, replace("\nS1\n", "\nS9\n")), repo.ErrFormat, "has the hash"},
		{"manifest's hash line flipped", bytesOf(manifest, func(b []byte) []byte { return flip(bytes.Index(b, []byte("--\n")) + 5)(b) }), repo.ErrFormat, ""},
		{"manifest of another repository", sign(func(m *repo.Manifest) { m.Name = "other.example.org" }), repo.ErrWrongName, "other.example.org"},
		{"manifest without certificate", sign(func(m *repo.Manifest) { m.Certificate = cas.Hash{} }), repo.ErrFormat, "no certificate"},
		{"manifest signed with another key", func(t *testing.T, r *repotest.Repo) {
			r.Key = repotest.Key(t, 2)
			r.SignManifest(t, nil)
		}, repo.ErrWrongKey, "not signed by its certificate"},
		{"certificate not whitelisted", func(t *testing.T, r *repotest.Repo) {
			r.SignWhitelist(t, func(w *repo.Whitelist) { w.Fingerprints[0].Hash = cas.Sum(cas.SHA1, nil) })
		}, repo.ErrWrongKey, "is not on it"},
		{"certificate absent", remove(certificate), fs.ErrNotExist, "certificate"},
		{"certificate flipped", bytesOf(certificate, flip(30)), cas.ErrCorrupt, "certificate"},
		{"certificate is no certificate", func(t *testing.T, r *repotest.Repo) {
			h := r.Put(t, []byte("hello"), cas.CertificateSuffix, cas.Zlib)
			r.SignManifest(t, func(m *repo.Manifest) { m.Certificate = h })
		}, repo.ErrFormat, "not PEM"},
		{"whitelist absent", remove(whitelist), fs.ErrNotExist, ".cvmfswhitelist"},
		{"whitelist empty", bytesOf(whitelist, func([]byte) []byte { return nil }), repo.ErrFormat, "whitelist"},
		{"whitelist expired", list(func(w *repo.Whitelist) { w.Expires = time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC) }), repo.ErrExpired, "2020-02-03 04:05 UTC"},
		{"whitelist of another repository", list(func(w *repo.Whitelist) { w.Name = "other.example.org" }), repo.ErrWrongName, "other.example.org"},
		{"whitelist without certificates", list(func(w *repo.Whitelist) { w.Fingerprints = nil }), repo.ErrWrongKey, "is not on it"},
		{"whitelist's signature flipped", bytesOf(whitelist, flip(-1)), repo.ErrWrongKey, "1 configured master keys"},
		{"whitelist's expiry changed", bytesOf(whitelist, replace("\nE20", "\nE21")), repo.ErrFormat, "has the hash"},
		{"whitelist signed with another key", func(t *testing.T, r *repotest.Repo) {
			r.Master = repotest.Key(t, 3)
			r.SignWhitelist(t, nil)
		}, repo.ErrWrongKey, "master keys"},
		{"whitelist by PKCS#7", func(t *testing.T, r *repotest.Repo) {
			edit(t, whitelist(r), replace("Ntest.example.org\n", "Ntest.example.org\nVpkcs7\n"))
			edit(t, whitelist(r), rehash)
		}, repo.ErrFormat, "PKCS#7"},
		{"root catalog absent", remove(root), fs.ErrNotExist, "root catalog"},
		{"root catalog flipped", bytesOf(root, flip(40)), cas.ErrCorrupt, "root catalog"},
		{"root catalog cut", bytesOf(root, func(b []byte) []byte { return b[:len(b)/2] }), cas.ErrCorrupt, "root catalog"},
		{"root catalog of another size", sign(func(m *repo.Manifest) { m.RootSize-- }), cas.ErrCorrupt, "root catalog"},
		{"root catalog is text", func(t *testing.T, r *repotest.Repo) {
			h := r.Put(t, []byte(strings.Repeat("hello", 200)), cas.CatalogSuffix, cas.Zlib)
			r.SignManifest(t, func(m *repo.Manifest) { m.Root, m.RootSize = h, 1000 })
		}, catalog.ErrCorrupt, "root catalog"},
		{"root catalog is a nested one", func(t *testing.T, r *repotest.Repo) {
			n := nestedAt(t, r, "/dir/nested")
			r.SignManifest(t, func(m *repo.Manifest) { m.Root, m.RootSize = n.Hash, n.Size })
		}, catalog.ErrCorrupt, "it is that of"},
		{"nested catalog absent", func(t *testing.T, r *repotest.Repo) {
			os.Remove(r.Path(cas.Object{Hash: nestedAt(t, r, "/dir/nested").Hash, Suffix: cas.CatalogSuffix}))
		}, fs.ErrNotExist, "nested catalog of \"/dir/nested\""},
		{"nested catalog flipped", func(t *testing.T, r *repotest.Repo) {
			edit(t, r.Path(cas.Object{Hash: nestedAt(t, r, "/dir/nested").Hash, Suffix: cas.CatalogSuffix}), flip(40))
		}, cas.ErrCorrupt, "nested catalog"},
		{"nested catalog not named", patch("", "DELETE FROM nested_catalogs"), catalog.ErrCorrupt, "names no catalog"},
		{"nested catalog of another size", patch("", "UPDATE nested_catalogs SET size = size + 4096"), cas.ErrCorrupt, "nested catalog"},
		{"nested catalog of another place", patch("", "UPDATE nested_catalogs SET path = '/dir/other'; UPDATE catalog SET name = 'other', md5path_1 = "+
			half("/dir/other", 0)+", md5path_2 = "+half("/dir/other", 1)+" WHERE name = 'nested'"), catalog.ErrCorrupt, "it is that of"},
		{"entry stored under another path", patch("", "UPDATE catalog SET name = 'elif' WHERE name = 'file'"), catalog.ErrCorrupt, "another path"},
		{"chunks with a gap", patch("", "UPDATE chunks SET size = size - 1 WHERE offset = 300"), catalog.ErrCorrupt, "chunk 2 is"},
		{"attributes spoiled", patch("", "UPDATE catalog SET xattr = x'0105' WHERE name = 'file'"), catalog.ErrCorrupt, "ends early"},
		{"size of a file too large", patch("", "UPDATE catalog SET size = 7 WHERE name = 'file'"), cas.ErrCorrupt, "data/"},
		{"size of a file too small", patch("", "UPDATE catalog SET size = 5 WHERE name = 'file'"), cas.ErrCorrupt, "data/"},
		{"compression of a file wrong", patch("", "UPDATE catalog SET flags = flags | 0x800 WHERE name = 'file'"), cas.ErrCorrupt, "data/"},
		{"algorithm of a file wrong", patch("", "UPDATE catalog SET flags = flags | 0x100 WHERE name = 'file'"), fs.ErrNotExist, "rmd160"},
		{"file absent", func(t *testing.T, r *repotest.Repo) { os.Remove(file(r, "/file")) }, fs.ErrNotExist, "data/"},
		{"file flipped", func(t *testing.T, r *repotest.Repo) { edit(t, file(r, "/file"), flip(3)) }, cas.ErrCorrupt, "data/"},
		{"file empty", func(t *testing.T, r *repotest.Repo) {
			edit(t, file(r, "/file"), func([]byte) []byte { return nil })
		}, cas.ErrCorrupt, "data/"},
		{"chunk flipped", func(t *testing.T, r *repotest.Repo) { edit(t, file(r, "/big"), flip(3)) }, cas.ErrCorrupt, "data/"},
		{"file swapped for another", func(t *testing.T, r *repotest.Repo) {
			other, err := os.ReadFile(file(r, "/dir/nested/inner"))
			if err != nil {
				t.Fatal(err)
			}
			edit(t, file(r, "/file"), func([]byte) []byte { return other })
		}, cas.ErrCorrupt, "data/"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := repotest.Build(t, repotest.Spec{Tree: tree()})
			test.spoil(t, r)
			err := readEverything(r.Uncached(t))
			if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v\nwant %v that says %q", err, test.is, test.says)
			}
		})
	}
}

// slowStore ends the fetch of a catalog only once nobody wants it any more.
type slowStore struct {
	cas.Store
	open atomic.Int32 // calls that have not returned
}

func (s *slowStore) Open(ctx context.Context, o cas.Object) (*os.File, error) {
	s.open.Add(1)
	defer s.open.Add(-1)
	if o.Suffix == cas.CatalogSuffix {
		<-ctx.Done()
		time.Sleep(10 * time.Millisecond) // what a disk may take
		return nil, ctx.Err()
	}
	return s.Store.Open(ctx, o)
}

// TestNothingOutlivesFailedOpen: what was fetched ahead has ended, for the caller
// removes the directory that it is stored in.
func TestNothingOutlivesFailedOpen(t *testing.T) {
	for name, spoil := range map[string]func(*repotest.Repo){
		"certificate not whitelisted": func(r *repotest.Repo) {
			r.SignWhitelist(t, func(w *repo.Whitelist) { w.Fingerprints = nil })
		},
		"manifest signed with another key": func(r *repotest.Repo) {
			r.Key = repotest.Key(t, 2)
			r.SignManifest(t, nil)
		},
	} {
		r := repotest.Build(t, repotest.Spec{Tree: tree()})
		spoil(r)
		cfg := r.Uncached(t)
		s := &slowStore{Store: cfg.Store}
		cfg.Store = s
		if _, err := repo.Open(t.Context(), cfg); !errors.Is(err, repo.ErrWrongKey) {
			t.Errorf("%s: %v", name, err)
		}
		if n := s.open.Load(); n != 0 {
			t.Errorf("%s: %d fetches still run", name, n)
		}
	}
}

// patch publishes a revision whose catalog at prefix was changed by SQL, and is
// signed all the same.
func patch(prefix, sql string) func(*testing.T, *repotest.Repo) {
	return func(t *testing.T, r *repotest.Repo) {
		r.Publish(t, repotest.Rev{Tree: tree(), Patch: func(c repotest.Catalog) {
			if c.Prefix != prefix {
				return
			}
			db, err := sqlite.OpenConn(c.File, sqlite.OpenReadWrite)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if err := sqlitex.ExecuteScript(db, sql, nil); err != nil {
				t.Fatal(err)
			}
		}})
	}
}

// half is one of the two numbers that name a path in SQL.
func half(path string, i int) string {
	p := catalog.HashPath(path)
	return strconv.FormatInt([2]int64{p.A, p.B}[i], 10)
}

// rehash makes the hash line right again; the signature is not.
func rehash(b []byte) []byte {
	i := bytes.Index(b, []byte("--\n"))
	return append(append(b[:i:i], "--\n"+cas.Sum(cas.SHA1, b[:i]).String()...), b[i+43:]...)
}

// object is the first one of a file's content.
func object(t *testing.T, r *repotest.Repo, path string) cas.Object {
	t.Helper()
	v := repotest.Open(t, r.Uncached(t)).Head()
	n, err := v.Lookup(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := v.Objects(n)
	if err != nil {
		t.Fatal(err)
	}
	return objects[0]
}

func nestedAt(t *testing.T, r *repotest.Repo, path string) catalog.Nested {
	t.Helper()
	n, found, err := repotest.Open(t, r.Uncached(t)).Head().Root().Catalog.NestedAt(path)
	if err != nil || !found {
		t.Fatalf("nested catalog at %s: %v, %v", path, found, err)
	}
	return n
}

func TestTrustAccepts(t *testing.T) {
	wrong, right := repotest.Key(t, 2), repotest.Key(t, 0)
	for _, a := range []cas.Algorithm{cas.SHA1, cas.RMD160, cas.SHAKE128} {
		for _, c := range []cas.Compression{cas.Zlib, cas.None} {
			t.Run(a.String()+" "+c.String(), func(t *testing.T) {
				r := repotest.Build(t, repotest.Spec{Algorithm: a, Compression: c, AltPaths: c == cas.None, Tree: tree()})
				cfg := r.Uncached(t)
				cfg.Keys = []*rsa.PublicKey{&wrong.PublicKey, &right.PublicKey} // any of several may have signed
				if err := readEverything(cfg); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestBlacklist(t *testing.T) {
	r := repotest.Build(t, repotest.Spec{Tree: tree()})
	r.Publish(t, repotest.Rev{Tree: tree()})
	c, err := repo.ParseCertificate(r.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	print := func(a cas.Algorithm) string {
		return repo.Fingerprint{Hash: c.Fingerprint(a), Comment: "stolen"}.String()
	}
	tests := []struct {
		name  string
		lines []string
		want  string // "" accepts
	}{
		{"nothing", nil, ""},
		{"comments and others", []string{"", "# comment", "<other.example.org 99", "00:" + strings.Repeat("11:", 18) + "22 # other"}, ""},
		{"fingerprint", []string{print(cas.SHA1)}, "blacklisted"},
		{"fingerprint of another algorithm", []string{print(cas.SHAKE128)}, "blacklisted"},
		{"this revision", []string{"<test.example.org 2"}, ""},
		{"later revisions", []string{"<test.example.org 3"}, "refuses those below 3"},
		{"not a fingerprint", []string{"12:34"}, "blacklist: line"},
		{"no revision", []string{"<test.example.org"}, "blacklist: line"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg := r.Uncached(t)
			cfg.Blacklist = test.lines
			err := readEverything(cfg)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestNoKeys(t *testing.T) {
	cfg := repotest.Build(t, repotest.Spec{}).Uncached(t)
	cfg.Keys = nil
	if err := readEverything(cfg); err == nil || !strings.Contains(err.Error(), "no master key") {
		t.Errorf("error %v", err)
	}
}
