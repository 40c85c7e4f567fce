package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/compression"

	"github.com/flatrun/flatrun/unpacked"
)

// realThin runs images by what names their layers: a file, an archive, a name at a registry.
func realThin(t *testing.T, s *site) {
	needMount(t)
	img := realImage(t, "thin", "amd64", realLayer(t, realTar(t, append(realShell(t), oddFiles()...)...), compression.GZip),
		realLayer(t, realTar(t, changedFiles()...), compression.GZip), realLayer(t, realTar(t, realEntry{"upper/file", 0, 0o644, "third\n", nil}), compression.GZip))
	s.push(t, "team/fat:1", img)
	name, thin := s.registry+"/team/fat:1", s.registry+"/team/fat_thin:1"
	s.convert(t, name, "--thin", thin, "--plain-http")

	text := s.flathub(t, "thin", "show", thin)
	d, err := unpacked.ParseThin([]byte(text))
	// The second layer has files below directories that it does not list: something has to lie over it.
	if err != nil || len(d.Layers) != 4 || !strings.Contains(d.Layers[3].URL, unpacked.Stacks+"/") || d.Origin != name {
		t.Fatalf("%v in %s", err, text)
	}
	_, _, stderr := s.fails(t, filepath.Join(s.bin, "flathub"), "thin", "show", name)
	if !strings.Contains(stderr, "no thin image: it has 3 layers") {
		t.Errorf("of an ordinary image: %s", stderr)
	}
	s.write(t, filepath.Join(s.dir, "thin.json"), text)
	s.run(t, "skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "docker://"+thin, "oci-archive:"+filepath.Join(s.dir, "thin.tar")+":it")
	s.endSessions(t) // one that runs looks for new revisions now and then only
	const script = `cat /opt/odd/plain /opt/hidden/* /upper/file; echo $IMAGE_NAME; [ -e /opt/gone ] || [ -e /opt/gonedir ] || echo gone`
	for _, image := range []string{"thin.json", filepath.Join(s.dir, "thin.json"), "docker://" + thin, "oci-archive:thin.tar:it"} {
		if out := s.flatrun(t, "exec", image, "/bin/sh", "-c", script); out != "another\nnew\nthird\nthin\ngone\n" {
			t.Errorf("%s printed %q", image, out)
		}
	}
	realThinFailures(t, s, text)
}

func realThinFailures(t *testing.T, s *site, text string) {
	var d unpacked.Thin
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	d.Layers[1] = unpacked.ThinLayer{Digest: strings.Repeat("0", 64), URL: "cvmfs://" + realFQRN + unpacked.LayerRoot(unpacked.Sum([]byte("x")))}
	missing, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, filepath.Join(s.dir, "missing.json"), string(missing))
	s.write(t, filepath.Join(s.dir, "broken.json"), `{"version": "1.0", "layers": [{"digest": "x", "url": "cvmfs://a.b/../.."}]}`)
	for image, want := range map[string]string{
		"missing.json": "layer 1: repository " + realFQRN + " has no /.layers/",
		"broken.json":  "layer 0",
		"docker://" + s.registry + "/team/fat_thin:absent": "nor a thin image: image " + s.registry + "/team/fat_thin:absent",
	} {
		if _, _, stderr := s.fails(t, filepath.Join(s.bin, "flatrun"), "exec", image, "/bin/true"); !strings.Contains(stderr, want) {
			t.Errorf("%s: %q, want %q", image, stderr, want)
		}
	}
}

// realShell is a shell with what scripts need, as a layer's entries.
func realShell(t *testing.T) []realEntry {
	t.Helper()
	for _, file := range []string{"/bin/busybox", "/usr/bin/busybox"} {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		return []realEntry{{"bin/", realDir, 0o755, "", nil}, {"bin/sh", 0, 0o755, string(b), nil}, {"bin/cat", realHard, 0o755, "bin/sh", nil}}
	}
	t.Skip("no busybox: install busybox-static")
	return nil
}
