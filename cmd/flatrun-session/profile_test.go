package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/prefetch"
	"github.com/flatrun/flatrun/mount/session"
)

// TestImportProfile carries profiles from one node to another.
func TestImportProfile(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("FLATRUN_CONFIG", "")
	t.Setenv("FLATRUN_CACHE_DIR", filepath.Join(dir, "cache"))
	image := cas.Sum(cas.SHA1, []byte("image"))
	file := func(name string, p *prefetch.Profile) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, p.Marshal(), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a, b := cas.Object{Hash: cas.Sum(cas.SHA1, []byte("a")), Size: 1}, cas.Object{Hash: cas.Sum(cas.SHA1, []byte("b")), Size: 2}
	one := file("one", &prefetch.Profile{Image: image, Objects: []cas.Object{a}})
	two := file("two", &prefetch.Profile{Image: image, Objects: []cas.Object{b, a}})
	for _, f := range []string{one, two} {
		if err := run(t.Context(), []string{"profile", "import", f}); err != nil {
			t.Fatal(err)
		}
	}
	kept := session.Profiles(filepath.Join(dir, "cache"))
	if p, err := kept.Load(image); err != nil || len(p.Objects) != 2 || p.Objects[0] != a || p.Objects[1] != b {
		t.Errorf("profile %+v, %v", p, err)
	}
	// What a recording session has left is taken over in the same way.
	t.Setenv("FLATRUN_CACHE_DIR", filepath.Join(dir, "other"))
	if err := run(t.Context(), []string{"profile", "keep", string(kept), t.TempDir()}); err != nil {
		t.Error(err)
	}
	if p, err := session.Profiles(filepath.Join(dir, "other")).Load(image); err != nil || len(p.Objects) != 2 {
		t.Errorf("taken over: %+v, %v", p, err)
	}
	if err := run(t.Context(), []string{"profile", "keep", t.TempDir(), t.TempDir()}); err == nil || !strings.Contains(err.Error(), "nothing was recorded") {
		t.Errorf("of nothing: %v", err)
	}
	nameless := file("nameless", &prefetch.Profile{Objects: []cas.Object{a}})
	for args, want := range map[string]string{
		"import " + nameless: "does not say", "import " + dir: "directory", "import": "usage", "forget x": "usage", "show /cvmfs/a.b/c": "a.b", "export /cvmfs/a.b/c x": "a.b",
	} {
		if err := run(t.Context(), append([]string{"profile"}, strings.Fields(args)...)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("profile %s: %v", args, err)
		}
	}
}
