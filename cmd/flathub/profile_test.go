package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/pack"
	"github.com/flatrun/flatrun/mount/prefetch"
	"github.com/flatrun/flatrun/mount/repo"
)

// open opens the hub's repository as a client would.
func (h *hub) open() (*repo.Revision, *cas.Remote) {
	h.t.Helper()
	keys, err := repo.LoadKeys(filepath.Join(h.dir, "config", "keys", fqrn+".pub"))
	if err != nil {
		h.t.Fatal(err)
	}
	from := cas.Dir(filepath.Join(h.dir, "srv", fqrn))
	cache, err := cas.OpenCache(cas.CacheConfig{Dir: h.t.TempDir()})
	if err != nil {
		h.t.Fatal(err)
	}
	store := &cas.Remote{Cache: cache, Main: from}
	r, err := repo.Open(h.t.Context(), repo.Config{FQRN: fqrn, Store: store, Fetcher: from, Keys: keys})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { r.Close(); store.Close() })
	return r.Head(), store
}

func (h *hub) objects(path string) []cas.Object {
	h.t.Helper()
	rev, _ := h.open()
	n, err := rev.Lookup(h.t.Context(), path)
	if err != nil {
		h.t.Fatal(err)
	}
	objects, err := rev.Objects(n)
	if err != nil {
		h.t.Fatal(err)
	}
	return objects
}

func TestProfile(t *testing.T) {
	h := newHub(t)
	h.in = bytes.NewReader(tarOf(t, "./", "./bin/", "./bin/tool="+strings.Repeat("program ", 1000), "./readme=text"))
	h.must("publish", fqrn, "--from", "-", "--to", "/image", "--catalog")
	tool := h.objects("/image/bin/tool")
	gone := cas.Object{Hash: cas.Sum(cas.SHA1, []byte("of another revision")), Size: 1}
	file := filepath.Join(h.dir, "start.profile")
	text := (&prefetch.Profile{Objects: append(tool, gone)}).Marshal()
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	h.must("profile", "add", fqrn, "image", file)
	h.in = bytes.NewReader(text)
	h.must("profile", "add", fqrn, "/image/", "-") // in place of the first
	rev, store := h.open()
	if n, err := rev.Lookup(t.Context(), pack.Dir("/image")+"/0"); err != nil || n.CatalogHash != rev.Root().CatalogHash {
		t.Errorf("the pack is not in the root catalog: %v", err)
	}
	s := pack.NewStore(pack.Config{Dir: filepath.Join(t.TempDir(), "packs"), Fetch: store, Has: store.Has})
	defer s.Close()
	if !s.Take(t.Context(), rev, "/image", func() { t.Error("the pack is of no use") }) {
		t.Fatal("no pack is found")
	}
	root, err := rev.Lookup(t.Context(), "/image")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range append(tool, cas.Object{Hash: root.CatalogHash, Suffix: cas.CatalogSuffix, Size: -1}) {
		f, err := s.Open(t.Context(), o)
		if err != nil {
			t.Fatalf("%v: %v", o, err)
		}
		f.Close()
	}
	if _, err := s.Open(t.Context(), gone); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an object that the repository lacks: %v", err)
	}
	h.must("check", fqrn)
	h.must("profile", "remove", fqrn, "image")
	if rev, _ := h.open(); s.Take(t.Context(), rev, "/image", func() {}) {
		t.Error("a removed pack is found")
	}
	for _, args := range [][]string{{"add", fqrn, "image"}, {"remove", fqrn, "image", file}, {"show", fqrn, "image"}, {"add", fqrn, "none", file},
		{"add", fqrn, "image/readme", file}, {"add", fqrn, "image", h.dir}, {"remove", fqrn, "image"}} {
		if h.run(append([]string{"profile"}, args...)...) == 0 {
			t.Errorf("flathub profile %q succeeds", args)
		}
	}
}
