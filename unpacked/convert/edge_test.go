package convert

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/flatrun/flatrun/unpacked"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// try converts an image and gives the error; a repository with what it made is published all the same.
func (h *hub) try(img v1.Image, as string) error {
	h.t.Helper()
	tx, err := h.begin(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	defer tx.Abort()
	ref, err := unpacked.ParseReference(as, "")
	if err != nil {
		h.t.Fatal(err)
	}
	c := Converter{Tx: tx, FQRN: fqrn}
	defer c.Close()
	if _, err = c.Convert(h.t.Context(), []Image{{Image: img, Name: ref, Platform: "linux/amd64"}}); err != nil {
		return err
	}
	_, err = tx.Commit(h.t.Context(), publish.CommitOptions{})
	return err
}

// foreign is a layer whose blob's place the manifest tells, and which other tools do not distribute.
type foreign struct{ v1.Layer }

func (foreign) MediaType() (types.MediaType, error) { return types.DockerForeignLayer, nil }

// lying is a layer that gives other bytes than its digest says.
type lying struct {
	v1.Layer
	blob []byte
}

func (l lying) Compressed() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(l.blob)), nil }

func TestOddImages(t *testing.T) {
	h := newHub(t)
	one := tarLayer(t, "a=1")
	other := tarLayer(t, "a=2")
	blob, err := other.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := io.ReadAll(blob)
	if err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		name  string
		img   v1.Image
		files map[string]string // content by path, "-" where there is nothing
		fail  string
	}{
		{"no layers", image(t, "x"), map[string]string{"/.singularity.d/startscript": "#!/bin/sh\n"}, ""},
		{"an empty layer", image(t, "x", tarLayer(t), one), map[string]string{"/a": "1"}, ""},
		{"one layer twice", image(t, "x", one, one), map[string]string{"/a": "1"}, ""},
		{"a layer above its opposite", image(t, "x", one, tarLayer(t, ".wh.a=")), map[string]string{"/a": "-"}, ""},
		{"an opaque root keeps what is ours", image(t, "x", one, tarLayer(t, ".wh..wh..opq=", "b=2")),
			map[string]string{"/a": "-", "/b": "2", "/.singularity.d/startscript": "#!/bin/sh\n"}, ""},
		{"a whiteout of what is ours", image(t, "x", tarLayer(t, ".wh..singularity.d=", ".wh..cvmfscatalog=")), map[string]string{"/.singularity.d/startscript": "#!/bin/sh\n"}, ""},
		{"the image's own scripts", image(t, "x", tarLayer(t, ".singularity.d/runscript=mine")), map[string]string{"/.singularity.d/runscript": "mine"}, ""},
		{"a file through a lower link", image(t, "x", tarLayer(t, "usr/", "usr/bin/", "bin=->usr/bin"), tarLayer(t, "bin/tool=t")), map[string]string{"/usr/bin/tool": "t"}, ""},
		{"a hard link into a lower layer", image(t, "x", tarLayer(t, "usr/", "usr/f=1", "l=->usr"), tarLayer(t, "l/g==>l/f", "usr/f=2")), map[string]string{"/usr/g": "1", "/usr/f": "2"}, ""},
		{"a hard link to nothing", image(t, "x", one, tarLayer(t, "b==>c")), nil, "/b: a hard link to /c, which no lower layer has"},
		{"a foreign layer", image(t, "x", foreign{one}), map[string]string{"/a": "1"}, ""},
		{"other bytes", image(t, "x", lying{tarLayer(t, "c=3"), wrong}), nil, "the source gave other bytes than the image names"},
		{"not a tar", image(t, "x", lying{tarLayer(t, "d=3"), []byte("what is this, certainly not an archive of anything, is it? " + strings.Repeat("no ", 300))}), nil, "tar after entry 0"},
		{"a whiteout of the root", image(t, "x", tarLayer(t, ".wh.=")), nil, "a whiteout of nothing"},
		{"climbs out", image(t, "x", tarLayer(t, "../a=1")), nil, `"../a": the path climbs out`},
		{"a configuration without layers", withoutRootfs(t, image(t, "x", tarLayer(t, "e=5"))), nil, "the configuration lists 0 layers, the manifest 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := *h
			h.t = t
			as := "odd.example.org/x:" + string(rune('a'+i))
			err := h.try(tt.img, as)
			if tt.fail != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fail) {
					t.Errorf("error is %v, want one with %q", err, tt.fail)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			v := h.head()
			root := flat(t, v, "/"+as)
			for path, want := range tt.files {
				if want != "-" {
					if got := text(t, v, root+path); got != want {
						t.Errorf("%s is %q, want %q", path, got, want)
					}
				} else if _, err := v.Lookup(t.Context(), root+path); err == nil {
					t.Errorf("%s is there", path)
				}
			}
			h.view.Abort()
		})
	}
}

// withoutRootfs is an image whose configuration does not list the layers: an artefact that is no image.
func withoutRootfs(t *testing.T, img v1.Image) v1.Image {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.RootFS = v1.RootFS{}
	out, err := mutate.ConfigFile(img, config)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSharedLinkLayer has a layer whose hard link leads to different files in two images: the flat ones have each their own,
// and what stands in the layer's tree is right over both.
func TestSharedLinkLayer(t *testing.T) {
	h := newHub(t)
	top := tarLayer(t, "copy==>file")
	for _, tag := range []string{"1", "2"} {
		h.push("x:"+tag, image(t, tag, tarLayer(t, "file="+tag), top))
		h.convert(h.host+"/x:"+tag, "") // the second takes the layer out of the repository
		v := h.head()
		root := flat(t, v, "/"+h.host+"/x:"+tag)
		if got := text(t, v, root+"/copy"); got != tag {
			t.Errorf("x:%s: the copy is %q", tag, got)
		}
		for _, name := range []string{"/copy", "/file"} {
			n, err := v.Lookup(t.Context(), root+name)
			if err != nil || n.Entry.LinkCount != 2 || len(n.Entry.Xattrs) > 0 {
				t.Errorf("x:%s: %s has %d links, %v", tag, name, n.Entry.LinkCount, err)
			}
		}
		digest, err := top.Digest()
		if err != nil {
			t.Fatal(err)
		}
		n, err := v.Lookup(t.Context(), unpacked.LayerRoot(unpacked.Digest(digest.String()))+"/copy")
		if err != nil || n.Entry.Symlink != "/file" {
			t.Errorf("the layer's entry leads to %q, %v", n.Entry.Symlink, err)
		}
	}
}

// TestLayerMadeAnew has a layer of DUCC's, which has no mark of ours: its tree is replaced, with a catalog of its own as
// before, and the images that it is known to be of stay.
func TestLayerMadeAnew(t *testing.T) {
	h := newHub(t)
	base := tarLayer(t, "a=1")
	h.push("x:1", image(t, "one", base))
	h.convert(h.host+"/x:1", "")
	d, err := base.Digest()
	if err != nil {
		t.Fatal(err)
	}
	digest := unpacked.Digest(d.String())
	tx, err := h.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Remove(unpacked.LayerDir(digest) + "/" + layerMark); err != nil {
		t.Fatal(err)
	}
	if err := tx.PutFile(unpacked.LayerOrigin(digest), 0o644, strings.NewReader(`{"origin":["sha256:before"]}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Commit(t.Context(), publish.CommitOptions{}); err != nil {
		t.Fatal(err)
	}
	h.push("x:2", image(t, "two", base))
	h.convert(h.host+"/x:2", "")
	v := h.head()
	if _, err := v.Lookup(t.Context(), unpacked.LayerRoot(digest)+"/"+unpacked.CatalogMarker); err != nil {
		t.Errorf("the layer's catalog: %v", err)
	}
	if got := text(t, v, unpacked.LayerOrigin(digest)); !strings.HasPrefix(got, `{"origin":["sha256:before","sha256:`) {
		t.Errorf("its origin is %s", got)
	}
}

// TestMarkersStay converts an image out of layers that the repository has: what marks catalogs is not the image's.
func TestMarkersStay(t *testing.T) {
	h := newHub(t)
	base := tarLayer(t, "a=1")
	h.push("x:1", image(t, "one", base))
	h.convert(h.host+"/x:1", "")
	h.clock = h.clock.Add(time.Hour)
	h.push("x:2", image(t, "two", base))
	h.convert(h.host+"/x:2", "")
	v := h.head()
	for _, tag := range []string{"1", "2"} {
		n, err := v.Lookup(t.Context(), flat(t, v, "/"+h.host+"/x:"+tag)+"/.cvmfscatalog")
		if err != nil || n.Entry.Mtime != 0 { // these images tell no date
			t.Errorf("x:%s: the marker is of %d, %v", tag, n.Entry.Mtime, err)
		}
	}
}

// TestLinksKeepImages has a link that somebody made to an image whose wish and metadata are gone.
func TestLinksKeepImages(t *testing.T) {
	h := newHub(t)
	h.push("x:1", image(t, "1", tarLayer(t, "v=1")))
	h.push("x:2", image(t, "2", tarLayer(t, "v=2")))
	h.sync("  - 'http://"+h.host+"/x:*'\n", 0)
	tx, err := h.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	it, err := tx.Lookup("/" + h.host + "/x:2")
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Symlink("/"+h.host+"/x:mine", it.Entry.Symlink); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Commit(t.Context(), publish.CommitOptions{}); err != nil {
		t.Fatal(err)
	}
	h.sync("  - 'http://"+h.host+"/x:1'\n", 0)
	v := h.head()
	if got := text(t, v, flat(t, v, "/"+h.host+"/x:mine")+"/v"); got != "2" {
		t.Errorf("the image has %q", got)
	}
	if _, err := v.Lookup(t.Context(), "/"+h.host+"/x:2"); err == nil {
		t.Error("the name that nobody wishes for is there")
	}
}

func TestReadThin(t *testing.T) {
	h := newHub(t)
	ref, err := unpacked.ParseReference("registry.example.org/x:1", "")
	if err != nil {
		t.Fatal(err)
	}
	full := image(t, "x", tarLayer(t, "a=1"), tarLayer(t, "b=2"))
	digests, err := layerDigests(full)
	if err != nil {
		t.Fatal(err)
	}
	img, err := ThinImage(Image{Image: full, Name: ref}, unpacked.NewThin(ref.String(), fqrn, digests))
	if err != nil {
		t.Fatal(err)
	}
	h.push("thin:1", img)
	dir := t.TempDir()
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.AppendImage(img); err != nil {
		t.Fatal(err)
	}
	for _, where := range []string{h.host + "/thin:1", "oci:" + dir} {
		images, err := h.source.Open(t.Context(), where, "a.b/c:1")
		if err != nil {
			t.Fatal(err)
		}
		thin, err := ReadThin(images[0])
		if err != nil || thin.Origin != ref.String() || len(thin.Layers) != 2 {
			t.Errorf("%s: %+v, %v", where, thin, err)
		}
	}
	for want, img := range map[string]v1.Image{
		"it has 2 layers":        full,
		"its layer has no thin.": image(t, "x", tarLayer(t, "a=1")),
		"no layers":              image(t, "x", tarLayer(t, `thin.json={"version": "1.0"}`)),
		"no thin image":          image(t, "x", lying{tarLayer(t, "a=1"), []byte(strings.Repeat("x", 600))}),
	} {
		if _, err := ReadThin(img); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestMirrors asks mirrors for images, tags and digests; the registry itself is asked where they fail.
func TestMirrors(t *testing.T) {
	h := newHub(t)
	h.push("x:1", image(t, "x", tarLayer(t, "a=1")))
	h.source.Mirrors = map[string][]string{"absent.example.org": {"127.0.0.1:1", h.host}, h.host: {"127.0.0.1:1"}}
	for _, registry := range []string{"absent.example.org", h.host} {
		ref, err := unpacked.ParseReference(registry+"/x:1", "")
		if err != nil {
			t.Fatal(err)
		}
		if d, err := h.source.Head(t.Context(), ref); err != nil || d == "" {
			t.Errorf("%s: digest %s, %v", registry, d, err)
		}
		if tags, err := h.source.Tags(t.Context(), ref); err != nil || len(tags) != 1 {
			t.Errorf("%s: tags %v, %v", registry, tags, err)
		}
		images, err := h.source.Open(t.Context(), registry+"/x:1", "")
		if err != nil || images[0].Name.Registry != registry {
			t.Errorf("%s: %v, %v", registry, images, err)
		}
	}
	h.source.Mirrors = map[string][]string{h.host: {"127.0.0.1:1"}}
	if _, err := h.source.Open(t.Context(), h.host+"/no:1", ""); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") || !strings.Contains(err.Error(), "NAME_UNKNOWN") {
		t.Errorf("the error tells what each of them said: %v", err)
	}
}
