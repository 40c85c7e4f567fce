package convert

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/unpacked"
)

// flat follows an image's link.
func flat(t *testing.T, v *repo.Revision, link string) string {
	t.Helper()
	n, err := v.Lookup(t.Context(), link)
	if err != nil {
		t.Fatalf("%s: %v", link, err)
	}
	id, ok := unpacked.ImageOf(filepath.Join(filepath.Dir(link), n.Entry.Symlink))
	if !ok {
		t.Fatalf("%s leads to %q", link, n.Entry.Symlink)
	}
	return unpacked.FlatRoot(id)
}

func TestConvert(t *testing.T) {
	h := newHub(t)
	base := tarLayer(t, "etc/", "etc/a=base", "etc/b=base", "gone/", "gone/x=1", "bin/", "bin/sh=#!")
	top := tarLayer(t, "etc/", "etc/.wh.b", "etc/c=top", ".wh.gone", "lnk=->etc/c")
	h.push("lib/app:1", image(t, "sh", base, top))
	results := h.convert(h.host+"/lib/app:1", "")
	if len(results) != 1 || results[0].NewLayers != 2 || results[0].Unchanged {
		t.Fatalf("results %+v", results)
	}
	v := h.head()
	root := flat(t, v, "/"+h.host+"/lib/app:1")
	if root != results[0].Path {
		t.Errorf("the link leads to %s, the result says %s", root, results[0].Path)
	}
	for path, want := range map[string]string{"/etc/a": "base", "/etc/c": "top", "/bin/sh": "#!"} {
		if got := text(t, v, root+path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	for _, path := range []string{"/etc/b", "/gone", "/gone/x", "/etc/.wh.b"} {
		if _, err := v.Lookup(t.Context(), root+path); err == nil {
			t.Errorf("%s is there", path)
		}
	}
	n, err := v.Lookup(t.Context(), root+"/etc")
	if err != nil || n.Entry.Mode&0o7777 != 0o2755 || n.Entry.UID != 1000 {
		t.Errorf("/etc: %+v, %v", n.Entry, err)
	}
	if got := text(t, v, root+"/.singularity.d/env/10-docker2singularity.sh"); !strings.Contains(got, `export A="${A:-"it's \$HOME"}"`) {
		t.Errorf("environment script %q", got)
	}
	if got := text(t, v, root+"/.singularity.d/runscript"); !strings.Contains(got, "'sh'") {
		t.Errorf("run script %q", got)
	}
	if got := text(t, v, "/.metadata/"+h.host+"/lib/app:1/manifest.json"); !strings.Contains(got, `"SchemaVersion":2`) {
		t.Errorf("manifest %q", got)
	}
	h.checkThin(v, h.host+"/lib/app:1")
	if got := text(t, v, "/podmanStore/overlay-images/images.json"); !strings.Contains(got, h.host+"/lib/app:1") {
		t.Errorf("podman's images %q", got)
	}
}

// checkThin looks at the thin image's descriptor: its layers are there, with whiteouts as overlayfs wants them.
func (h *hub) checkThin(v *repo.Revision, name string) {
	h.t.Helper()
	thin, err := unpacked.ParseThin([]byte(text(h.t, v, "/.metadata/"+name+"/thin.json")))
	if err != nil {
		h.t.Fatal(err)
	}
	_, dir, err := thin.Layers[1].Location()
	if err != nil {
		h.t.Fatal(err)
	}
	n, err := v.Lookup(h.t.Context(), dir+"/gone")
	if err != nil || !isWhiteout(n.Entry) {
		h.t.Errorf("the whiteout in %s: %+v, %v", dir, n.Entry, err)
	}
}

func TestConvertAgain(t *testing.T) {
	h := newHub(t)
	base := tarLayer(t, "a=1")
	h.push("x:1", image(t, "one", base))
	h.convert(h.host+"/x:1", "")
	before := h.revision()
	if r := h.convert(h.host+"/x:1", ""); !r[0].Unchanged {
		t.Errorf("the second run made it again: %+v", r)
	}
	if after := h.revision(); after != before {
		t.Errorf("nothing new made revision %d of %d", after, before)
	}
	h.push("x:2", image(t, "two", base, tarLayer(t, "b=2")))
	if r := h.convert(h.host+"/x:2", ""); r[0].NewLayers != 1 {
		t.Errorf("one layer is new, %d were read", r[0].NewLayers)
	}
	v := h.head()
	root := flat(t, v, "/"+h.host+"/x:2")
	if got := text(t, v, root+"/a") + text(t, v, root+"/b"); got != "12" {
		t.Errorf("the tree of both layers has %q", got)
	}
}

// TestConvertRecompressed finds the layers of one image under two names: those of its gzip blobs and of its plain ones.
func TestConvertRecompressed(t *testing.T) {
	h := newHub(t)
	l := tarLayer(t, "a=1")
	r, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	tar, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	plain := static.NewLayer(tar, types.OCIUncompressedLayer)
	h.push("x:gzip", image(t, "x", l))
	h.push("x:plain", image(t, "x", plain))
	h.convert(h.host+"/x:gzip", "")
	if r := h.convert(h.host+"/x:plain", ""); r[0].NewLayers != 1 || r[0].Unchanged {
		t.Errorf("the layer has another name: %+v", r)
	}
	if r := h.convert(h.host+"/x:plain", ""); !r[0].Unchanged {
		t.Errorf("again: %+v", r)
	}
	v := h.head()
	for _, l := range []v1.Layer{l, plain} {
		d, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if got := text(t, v, unpacked.LayerRoot(unpacked.Digest(d.String()))+"/a"); got != "1" {
			t.Errorf("layer %s has %q", d, got)
		}
	}
}

func TestConvertLocal(t *testing.T) {
	h := newHub(t)
	img := image(t, "sh", tarLayer(t, "a=1"))
	dir := t.TempDir()
	oci := filepath.Join(dir, "oci")
	l, err := layout.Write(oci, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "1"})); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(dir, "oci.tar")
	packDirectory(t, oci, archive)
	docker := filepath.Join(dir, "docker.tar")
	tag, err := name.NewTag("x/y:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(docker, tag, img); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"oci:" + oci, "oci:" + oci + ":1", "oci-archive:" + archive, "oci-archive:" + archive + ":1", "docker-archive:" + docker} {
		t.Run(ref[len(ref)-12:], func(t *testing.T) {
			as := fmt.Sprintf("local.example.org/t:%d", len(ref))
			h.convert(ref, as)
			v := h.head()
			if got := text(t, v, flat(t, v, "/"+as)+"/a"); got != "1" {
				t.Errorf("a is %q", got)
			}
		})
	}
	if _, err := h.source.Open(t.Context(), "oci:"+oci+":2", "a.b/c:1"); err == nil || !strings.Contains(err.Error(), `no image "2"`) {
		t.Errorf("a tag that is not there: %v", err)
	}
	if _, err := h.source.Open(t.Context(), "oci:"+oci, ""); err == nil || !strings.Contains(err.Error(), "--name") {
		t.Errorf("no name: %v", err)
	}
}

// TestLayouts opens layouts of several images, and of other bytes than they name.
func TestLayouts(t *testing.T) {
	one, two := image(t, "one", tarLayer(t, "a=1")), image(t, "two", tarLayer(t, "a=2"))
	named := func(ref string) layout.Option { return layout.WithAnnotations(map[string]string{refName: ref}) }
	of := func(arch string) layout.Option {
		return layout.WithPlatform(v1.Platform{OS: "linux", Architecture: arch})
	}
	config, err := one.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := one.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		name, ref, want string // "": it is taken, with its command
		one, two        []layout.Option
		bent            v1.Hash
	}{
		{"two names", "", "2 such images: say which with :TAG; it has: 1 2", []layout.Option{named("1")}, []layout.Option{named("2")}, v1.Hash{}},
		{"one of two names", ":2", "", []layout.Option{named("1")}, []layout.Option{named("2")}, v1.Hash{}},
		{"one name twice", ":1", "2 such images", []layout.Option{named("1")}, []layout.Option{named("1")}, v1.Hash{}},
		{"platforms", "", "", []layout.Option{of("arm64")}, []layout.Option{of("amd64")}, v1.Hash{}},
		{"platforms of one name", ":1", "", []layout.Option{named("1"), of("arm64")}, []layout.Option{named("1"), of("amd64")}, v1.Hash{}},
		{"platforms of two names", "", "2 such images", []layout.Option{named("1"), of("arm64")}, []layout.Option{named("2"), of("amd64")}, v1.Hash{}},
		{"one platform twice", "", "2 such images", []layout.Option{of("amd64")}, []layout.Option{of("amd64")}, v1.Hash{}},
		{"another configuration", ":1", "configuration sha256:", []layout.Option{named("1")}, []layout.Option{named("2")}, config},
		{"another manifest", ":1", "manifest sha256:", []layout.Option{named("1")}, []layout.Option{named("2")}, manifest},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), fmt.Sprint(i))
			l, err := layout.Write(dir, empty.Index)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.AppendImage(one, c.one...); err != nil {
				t.Fatal(err)
			}
			if err := l.AppendImage(two, c.two...); err != nil {
				t.Fatal(err)
			}
			if c.bent.Hex != "" {
				blob := filepath.Join(dir, "blobs", "sha256", c.bent.Hex)
				text, err := os.ReadFile(blob)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(blob, append(text, ' '), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			archive := dir + ".tar"
			packDirectory(t, dir, archive)
			for _, place := range []string{"oci:" + dir, "oci-archive:" + archive} {
				images, err := Source{Platforms: []string{"linux/amd64"}}.Open(t.Context(), place+c.ref, "a.b/c:1")
				if c.want != "" {
					if err == nil || !strings.Contains(err.Error(), c.want) {
						t.Errorf("%s: got %v, want %q", place, err, c.want)
					}
					continue
				}
				if err != nil || len(images) != 1 {
					t.Fatalf("%s: %d images, %v", place, len(images), err)
				}
				if config, err := images[0].ConfigFile(); err != nil || config.Config.Cmd[0] != "two" {
					t.Errorf("%s: it is another image: %+v, %v", place, config, err)
				}
			}
		})
	}
}

func packDirectory(t *testing.T, dir, to string) {
	t.Helper()
	f, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestPlatforms(t *testing.T) {
	h := newHub(t)
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: image(t, "amd", tarLayer(t, "arch=amd64")), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: image(t, "arm", tarLayer(t, "arch=arm64")), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}}})
	ref, err := name.ParseReference(h.host+"/multi:1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	h.source.Platforms = []string{"linux/arm64", "linux/amd64"}
	h.convert(h.host+"/multi:1", "")
	v := h.head()
	for link, want := range map[string]string{":1": "arm64", ":1@linux-arm64-v8": "arm64", ":1@linux-amd64": "amd64"} {
		if got := text(t, v, flat(t, v, "/"+h.host+"/multi"+link)+"/arch"); got != want {
			t.Errorf("multi%s is for %s", link, got)
		}
	}
	h.source.Platforms = []string{"linux/riscv64"}
	if _, err := h.source.Open(t.Context(), h.host+"/multi:1", ""); err == nil || !strings.Contains(err.Error(), "linux/amd64 linux/arm64/v8") {
		t.Errorf("a platform that is not there: %v", err)
	}
}
