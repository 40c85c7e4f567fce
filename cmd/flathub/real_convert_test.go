package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/flatrun/flatrun/unpacked"
)

// TestReal drives the built programs as an operator and a user would, against the registry and the tools of others.
func TestReal(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs and images")
	}
	s := newSite(t)
	for _, tt := range []struct {
		name string
		run  func(*testing.T, *site)
	}{
		{"a Debian image is what umoci unpacks", realDebian},
		{"however its layers are compressed", realCompression},
		{"platforms and digests", realPlatforms},
		{"a private registry", realPrivate},
		{"tokens and mirrors", realTokens},
		{"bytes that are not what the digest says", realFlipped},
		{"interrupted", realInterrupted},
		{"a wish list", realSync},
		{"thin images", realThin},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, s) })
	}
}

func realDebian(t *testing.T, s *site) {
	base, python := debian(t)
	shell := []realEntry{{"bin/", realDir, 0o755, "", nil}, {"bin/sh", realSym, 0o777, "dash", nil}}
	img := realImage(t, "debian", "amd64", realLayer(t, base, compression.GZip),
		realLayer(t, realTar(t, append(shell, oddFiles()...)...), compression.GZip), realLayer(t, realTar(t, changedFiles()...), compression.GZip))
	oci := s.push(t, "library/debian:12", img)
	name := s.registry + "/library/debian:12"

	first := s.convert(t, "docker://"+name, "--plain-http")
	if len(first.Images) != 1 || first.Images[0].NewLayers != 3 || first.Images[0].Unchanged {
		t.Fatalf("the first time: %+v", first)
	}
	again := s.convert(t, "docker://"+name)
	if again.Revision != first.Revision || len(again.Images) != 1 || !again.Images[0].Unchanged {
		t.Errorf("the second time: %+v, after revision %d", again, first.Revision)
	}
	want := treeOf(t, s.unpack(t, oci))
	dir := s.mount(t)
	link, err := os.Readlink(filepath.Join(dir, name))
	if err != nil || !strings.HasPrefix(link, "../../.flat/") {
		t.Errorf("%s leads to %q (%v)", name, link, err)
	}
	got := treeOf(t, filepath.Join(dir, first.Images[0].Path))
	compareTrees(t, got, want, ours)

	out := s.flatrun(t, "exec", name, "cat", "/opt/odd/plain", "/usr/share/doc/new")
	if out != "another\nnew\n" {
		t.Errorf("flatrun exec %s cat printed %q", name, out)
	}
	if !python {
		return
	}
	out = s.flatrun(t, "exec", "docker://"+name, "python3", "-c", `import os, json; print(json.dumps([os.environ["IMAGE_NAME"], os.path.exists("/opt/gone")]))`)
	if out != "[\"debian\", false]\n" {
		t.Errorf("python3 printed %q", out)
	}
}

func realCompression(t *testing.T, s *site) {
	odd, changed := realTar(t, oddFiles()...), realTar(t, changedFiles()...)
	dir := s.mount(t)
	var want map[string]string
	for i, how := range []compression.Compression{compression.GZip, compression.ZStd, compression.None} {
		// Three configurations: else it would be one image, whose tree is made once.
		name := "library/" + string(how) + ":1"
		s.push(t, name, realImage(t, string(how), "amd64", realLayer(t, odd, how), realLayer(t, changed, how)))
		c := s.convert(t, s.registry+"/"+name)
		if i > 0 && c.Images[0].NewLayers != 2 {
			t.Errorf("%s: %d layers were made", how, c.Images[0].NewLayers)
		}
		s.refresh(t, dir, c.Images[0].Path)
		got := treeOf(t, filepath.Join(dir, c.Images[0].Path))
		for name := range got {
			if strings.HasPrefix(name, ".singularity.d") { // it has the image's labels and variables
				delete(got, name)
			}
		}
		if want == nil {
			want = got
		}
		compareTrees(t, got, want, nil)
	}
}

// refresh remounts if the mount does not show a path yet: it looks for new revisions now and then only.
func (s *site) refresh(t *testing.T, dir, path string) {
	t.Helper()
	if _, err := os.Lstat(filepath.Join(dir, path)); err == nil {
		return
	}
	s.flatrun(t, "umount", dir)
	s.flatrun(t, "mount", realFQRN, dir)
}

func realPlatforms(t *testing.T, s *site) {
	index := mutate.IndexMediaType(empty.Index, "application/vnd.oci.image.index.v1+json")
	for _, arch := range []string{"amd64", "arm64"} {
		img := realImage(t, "multi", arch, realLayer(t, realTar(t, append(realShell(t), realEntry{"arch", 0, 0o644, arch + "\n", nil})...), compression.GZip))
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	dir := filepath.Join(t.TempDir(), "oci")
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "it"})); err != nil {
		t.Fatal(err)
	}
	name := s.registry + "/library/multi:1"
	s.run(t, "skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--dest-tls-verify=false", "oci:"+dir+":it", "docker://"+name)
	c := s.convert(t, name, "--platform", "linux/amd64,linux/arm64")
	if len(c.Images) != 2 || c.Images[0].Platform != "linux/amd64" || c.Images[1].Platform != "linux/arm64" {
		t.Fatalf("%+v", c)
	}
	// skopeo writes an index anew, so that the registry's has another digest.
	digest := unpacked.Sum([]byte(s.run(t, "skopeo", "--insecure-policy", "inspect", "--raw", "--tls-verify=false", "docker://"+name)))
	s.endSessions(t) // for one that knows this revision
	for image, want := range map[string]string{name: "amd64\n", "docker://" + name + "@linux-arm64": "arm64\n"} {
		if out := s.flatrun(t, "exec", image, "/bin/cat", "/arch"); out != want {
			t.Errorf("flatrun exec %s cat /arch printed %q", image, out)
		}
	}
	mnt := s.mount(t)
	for link, want := range map[string]string{name: "amd64\n", name + "@linux-arm64": "arm64\n", name + "@linux-amd64": "amd64\n", s.registry + "/library/multi@" + string(digest): "amd64\n"} {
		b, err := os.ReadFile(filepath.Join(mnt, link, "arch"))
		if err != nil || string(b) != want {
			t.Errorf("%s is %q (%v), want %q", link, b, err, want)
		}
	}
	// By its digest it is there already.
	if again := s.convert(t, s.registry+"/library/multi@"+string(digest), "--platform", "linux/amd64"); again.Images[0].NewLayers != 0 || again.Images[0].Path != c.Images[0].Path {
		t.Errorf("by digest: %+v", again)
	}
	_, _, stderr := s.fails(t, filepath.Join(s.bin, "flathub"), "convert", realFQRN, name, "--platform", "linux/s390x")
	if !strings.Contains(stderr, "linux/amd64 linux/arm64") {
		t.Errorf("a platform that it lacks: %s", stderr)
	}
}

func realSmall(t *testing.T, s *site, name, text string) {
	t.Helper()
	s.push(t, name, realImage(t, name, "amd64", realLayer(t, realTar(t, realEntry{"text", 0, 0o644, text, nil}), compression.GZip)))
}
