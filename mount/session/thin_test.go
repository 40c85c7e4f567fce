package session_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flatrun/flatrun/mount/repotest"
	"github.com/flatrun/flatrun/unpacked"
)

// thinLayers are the digests of the layers that thinTree has.
var thinLayers = []unpacked.Digest{unpacked.Sum([]byte("base")), unpacked.Sum([]byte("top"))}

func thinTree() []repotest.File {
	return []repotest.File{
		{Path: unpacked.LayerRoot(thinLayers[0]) + "/etc/motd", Content: "base\n"},
		{Path: unpacked.LayerRoot(thinLayers[1]) + "/etc/issue", Content: "top\n"},
		{Path: unpacked.Metadata + "/registry.example.org/library/tool:1/config.json", Content: `{"config": {"Env": ["A=b"]}}`},
		{Path: unpacked.Metadata + "/registry.example.org/library/ducc:1/manifest.json", Content: `{"Config": {"Digest": "sha256:` + flatID + `"}}`},
		{Path: "/podmanStore/overlay-images/" + flatID + "/=" + base64.StdEncoding.EncodeToString([]byte("sha256:"+flatID)), Content: `{"config": {"Env": ["C=d"]}}`},
		{Path: "/file", Content: "x"},
	}
}

func TestThin(t *testing.T) {
	r := repotest.Build(t, repotest.Spec{FQRN: "test.example.org", Tree: thinTree()})
	s := repotest.Serve(t, r.Dir)
	w := newWorld(t, map[string]string{r.FQRN: repository(s.URL, r.KeyPath)}, "")
	w.start()
	t.Chdir(t.TempDir())
	write := func(name, origin, text string) {
		if text == "" {
			b, err := unpacked.NewThin(origin, r.FQRN, thinLayers).Encode()
			if err != nil {
				t.Fatal(err)
			}
			text = string(b)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("thin.json", "registry.example.org/library/tool:1", "")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, image := range []string{"thin.json", "./thin.json", filepath.Join(here, "thin.json")} {
		f := w.mustFind(image, "etc/motd")
		if f.Content != "base\n" || len(f.Layers) != 1 || !strings.HasSuffix(f.Layers[0], unpacked.LayerRoot(thinLayers[1])) || !jsonEqual(f.Config, `{"config": {"Env": ["A=b"]}}`) {
			t.Errorf("%s: %+v", image, f)
		}
	}
	again, err := unpacked.NewThin("", r.FQRN, []unpacked.Digest{thinLayers[1], thinLayers[0], thinLayers[1], thinLayers[1]}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	write("again.json", "", string(again))
	if f := w.mustFind("again.json", "etc/motd"); f.Content != "base\n" || len(f.Layers) != 1 || !strings.HasSuffix(f.Layers[0], unpacked.LayerRoot(thinLayers[1])) {
		t.Errorf("a layer that comes again: %+v", f)
	}
	write("ducc.json", "https://registry.example.org/library/ducc:1", "")
	if f := w.mustFind("ducc.json"); !jsonEqual(f.Config, `{"config": {"Env": ["C=d"]}}`) {
		t.Errorf("DUCC's: %+v", f)
	}
	write("stranger.json", "what is this", "")
	if f := w.mustFind("stranger.json"); f.Config != nil {
		t.Errorf("nothing is known of its origin: %+v", f)
	}

	url := fmt.Sprintf(`{"version": "1.0", "layers": [{"digest": "%064d", "url": "cvmfs://test.example.org%%s"}]}`, 0)
	for text, want := range map[string]string{
		"":                          "thin.json: ",
		`{"layers": []}`:            "no version",
		fmt.Sprintf(url, "/absent"): "layer 0: repository test.example.org has no /absent: was the image removed from it?",
		fmt.Sprintf(url, "/file"):   "is no directory",
		fmt.Sprintf(url, "/../x"):   "not a clean path",
		strings.Replace(fmt.Sprintf(url, "/x"), "test.example.org", "other.example.org", 1): "other.example.org",
		strings.Repeat(" ", 2<<20): "larger than",
	} {
		if err := os.WriteFile("bad.json", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := w.find("bad.json"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %q", text, err, want)
		}
	}
}

func jsonEqual(got json.RawMessage, want string) bool {
	var a, b any
	return json.Unmarshal(got, &a) == nil && json.Unmarshal([]byte(want), &b) == nil && fmt.Sprint(a) == fmt.Sprint(b)
}

// TestThinPublisher has a script in place of flathub.
func TestThinPublisher(t *testing.T) {
	r := repotest.Build(t, repotest.Spec{FQRN: "test.example.org", Tree: thinTree()})
	s := repotest.Serve(t, r.Dir)
	bin := t.TempDir()
	path := slices.DeleteFunc(filepath.SplitList(os.Getenv("PATH")), func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, "flathub"))
		return err == nil
	})
	t.Setenv("PATH", strings.Join(append([]string{bin}, path...), ":"))
	w := newWorld(t, map[string]string{r.FQRN: repository(s.URL, r.KeyPath)}, "")
	w.start()
	const image = "docker://registry.example.org/library/tool_thin:1"
	if _, err := w.find(image); err == nil || !strings.Contains(err.Error(), "read by flathub, which is neither beside flatrun-session nor on PATH") {
		t.Errorf("without flathub: %v", err)
	}
	thin, err := unpacked.NewThin("registry.example.org/library/tool:1", r.FQRN, thinLayers).Encode()
	if err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\ncase $5 in\n*_thin:1) cat <<'END'\n{\"thin\": " + string(thin) + ", \"config\": {\"config\": {\"User\": \"x\"}}}\nEND\n;;\n*:odd) echo what;;\n*) echo \"flathub: no such image $*\" >&2; exit 1;;\nesac\n"
	if err := os.WriteFile(filepath.Join(bin, "flathub"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if f := w.mustFind(image, "etc/motd"); f.Content != "base\n" || len(f.Layers) != 1 || !jsonEqual(f.Config, `{"config": {"User": "x"}}`) {
		t.Errorf("%+v", f)
	}
	for image, want := range map[string]string{
		"docker://registry.example.org/library/none:1":   "nor a thin image: no such image thin show --json -- docker://registry.example.org/library/none:1",
		"docker://registry.example.org/library/tool:odd": "understand flathub thin show",
		"oci-archive:absent.tar":                         "no such image thin show --json -- oci-archive:/",
		"registry.example.org/library/tool_thin:1":       "registry.example.org/library/tool_thin:1",
	} {
		if _, err := w.find(image); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", image, err, want)
		}
	}
}
