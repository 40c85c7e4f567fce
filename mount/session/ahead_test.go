package session_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/pack"
	"github.com/flatrun/flatrun/mount/pack/squeeze"
	"github.com/flatrun/flatrun/mount/prefetch"
	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/mount/repotest"
)

// startTree is an image with a catalog of its own and the files that a start of it reads.
func startTree() (tree []repotest.File, image string, files []string) {
	image = "/.flat/" + flatID[:2] + "/" + flatID
	tree = []repotest.File{
		{Path: image, Kind: repotest.Dir, Nested: true},
		{Path: "/registry.example.org/library/tool:1.0", Kind: repotest.Link, Content: "../.." + image},
	}
	for i := range 8 {
		name := fmt.Sprintf("file%d", i)
		files = append(files, name)
		tree = append(tree, repotest.File{Path: image + "/" + name, Content: strings.Repeat(name+" ", 100*i+1)})
	}
	return tree, image, files
}

const startImage = "registry.example.org/library/tool:1.0"

func contents(files []string) (all string) {
	for i, name := range files {
		all += strings.Repeat(name+" ", 100*i+1)
	}
	return all
}

// objectsOf are the objects of the files, and those of the image's catalog.
func objectsOf(t *testing.T, r *repotest.Repo, image string, files []string) (objects []cas.Object, read func(cas.Object) ([]byte, error)) {
	t.Helper()
	cfg := r.Config(t)
	opened, err := repo.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	root, err := opened.Head().Lookup(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	objects = append(objects, cas.Object{Hash: root.CatalogHash, Suffix: cas.CatalogSuffix, Size: -1, Pinned: true})
	for _, name := range files {
		n, err := opened.Head().Lookup(t.Context(), image+"/"+name)
		if err != nil {
			t.Fatal(err)
		}
		some, err := opened.Head().Objects(n)
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, some...)
	}
	return objects, func(o cas.Object) ([]byte, error) { return cas.ReadVerified(t.Context(), cas.Dir(r.Dir), o) }
}

// withPack is the tree with a pack of what the start reads; spoil makes another text of its part.
func withPack(t *testing.T, spoil func([]byte) []byte) (r *repotest.Repo, objects []cas.Object, files []string) {
	t.Helper()
	tree, image, files := startTree()
	objects, read := objectsOf(t, repotest.Build(t, repotest.Spec{FQRN: "test.example.org", Tree: tree}), image, files)
	packed, err := pack.Build(objects, squeeze.Append, read, func(part []byte) error {
		tree = append(tree, repotest.File{Path: pack.Dir(image) + "/" + pack.PartName(0), Content: string(spoil(part))})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	tree = append(tree, repotest.File{Path: pack.Dir(image) + "/" + pack.ProfileName, Content: string((&prefetch.Profile{Objects: packed}).Marshal())})
	return repotest.Build(t, repotest.Spec{FQRN: "test.example.org", Tree: tree}), objects, files
}

// A pack brings all that the start reads; one that is wrong in any way leaves it to the servers.
func TestPack(t *testing.T) {
	needFUSE(t)
	for name, c := range map[string]struct {
		spoil  func([]byte) []byte
		more   string
		packed bool
	}{
		"good":      {spoil: func(b []byte) []byte { return b }, packed: true},
		"truncated": {spoil: func(b []byte) []byte { return b[:len(b)/2] }},
		"no pack":   {spoil: func([]byte) []byte { return []byte("something else") }},
		"off":       {spoil: func(b []byte) []byte { return b }, more: "prefetch: {profiles: no}"},
	} {
		t.Run(name, func(t *testing.T) {
			r, objects, files := withPack(t, c.spoil)
			s := repotest.Serve(t, r.Dir)
			w := newWorld(t, map[string]string{r.FQRN: repository(s.URL, r.KeyPath)}, c.more)
			w.start()
			if f := w.mustFind(startImage, files...); f.Content != contents(files) {
				t.Errorf("wrong bytes: %.80q", f.Content)
			}
			asked := 0
			for _, o := range objects {
				asked += s.Count(o.Name())
			}
			if c.packed != (asked == 0) {
				t.Errorf("%d requests for objects of the pack", asked)
			}
			if !c.packed {
				return
			}
			// What came is there for the next session, which asks for nothing.
			w.end()
			s.Fail("data/*/*", repotest.Fault{Reset: true})
			w.start()
			if f := w.mustFind(startImage, files...); f.Content != contents(files) {
				t.Errorf("wrong bytes the next time: %.80q", f.Content)
			}
		})
	}
}

// The first start of an image is recorded, and the profile is replayed with another cache.
func TestRecordedStart(t *testing.T) {
	needFUSE(t)
	tree, _, files := startTree()
	r := repotest.Build(t, repotest.Spec{FQRN: "test.example.org", Tree: tree})
	s := repotest.Serve(t, r.Dir)
	repos := map[string]string{r.FQRN: repository(s.URL, r.KeyPath)}
	w := newWorld(t, repos, "")
	w.start()
	w.mustFind(startImage, files...)
	w.end()
	kept, err := filepath.Glob(filepath.Join(w.cache, "profiles", "*"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("profiles are %v, %v", kept, err)
	}
	other := newWorld(t, repos, "")
	if err := os.CopyFS(filepath.Join(other.cache, "profiles"), os.DirFS(filepath.Join(w.cache, "profiles"))); err != nil {
		t.Fatal(err)
	}
	other.start()
	before := s.Counts()
	other.mustFind(startImage) // reads nothing
	text, err := os.ReadFile(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	profile, err := prefetch.ParseProfile(text)
	if err != nil || len(profile.Objects) != len(files) {
		t.Fatalf("profile %+v, %v", profile, err)
	}
	eventually(t, "the profile's objects are fetched", func() bool {
		for _, o := range profile.Objects {
			if s.Count(o.Name()) == before[o.Name()] {
				return false
			}
		}
		return true
	})
}

// Sixty-four cold starts at the same time cost the wire what one costs.
func TestConcurrentColdStarts(t *testing.T) {
	needFUSE(t)
	tree, _, files := startTree()
	r := repotest.Build(t, repotest.Spec{FQRN: "test.example.org", Tree: tree})
	s := repotest.Serve(t, r.Dir)
	w := newWorld(t, map[string]string{r.FQRN: repository(s.URL, r.KeyPath)}, "")
	needFUSE(t)
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			if f, err := w.find(startImage, files...); err != nil || f.Content != contents(files) {
				t.Errorf("%.80q, %v", f.Content, err)
			}
		})
	}
	all.Wait()
	for name, n := range s.Counts() {
		if n != 1 {
			t.Errorf("%d requests for %s", n, name)
		}
	}
}
