package convert

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/unpacked"
	"github.com/flatrun/flatrun/unpacked/publish"
	"github.com/flatrun/flatrun/unpacked/wishlist"
)

const fqrn = "test.example.org"

var testKeys = sync.OnceValue(func() publish.Keys {
	k, err := publish.NewKeys(fqrn, time.Now())
	if err != nil {
		panic(err)
	}
	return k
})

// hub is a repository in a directory and a registry on loopback.
type hub struct {
	t       *testing.T
	dir     string
	storage *publish.Directory
	options publish.Options
	host    string
	source  Source
	clock   time.Time
	view    *publish.Tx // that head has open
}

func newHub(t *testing.T) *hub {
	t.Helper()
	dir := t.TempDir()
	storage, err := publish.OpenDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	h := &hub{t: t, dir: dir, storage: storage, clock: time.Now(), source: Source{PlainHTTP: true, Platforms: []string{"linux/amd64"}}}
	h.options = publish.Options{FQRN: fqrn, Scratch: t.TempDir(), Now: func() time.Time { return h.clock }}
	if _, err := publish.Init(t.Context(), storage, publish.InitOptions{Options: h.options, Keys: testKeys()}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	h.host = strings.TrimPrefix(server.URL, "http://")
	return h
}

func (h *hub) begin(ctx context.Context) (*publish.Tx, error) {
	if h.view != nil {
		h.view.Abort()
		h.view = nil
	}
	return publish.Begin(ctx, h.storage, testKeys(), h.options)
}

// convert publishes the image that ref names.
func (h *hub) convert(ref, as string) []Result {
	h.t.Helper()
	tx, err := h.begin(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	defer tx.Abort()
	images, err := h.source.Open(h.t.Context(), ref, as)
	if err != nil {
		h.t.Fatal(err)
	}
	c := Converter{Tx: tx, FQRN: fqrn}
	results, err := c.Convert(h.t.Context(), images)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := tx.Commit(h.t.Context(), publish.CommitOptions{}); err != nil {
		h.t.Fatal(err)
	}
	return results
}

// head is the repository as a client with the public key finds it.
func (h *hub) head() *repo.Revision {
	h.t.Helper()
	tx, err := h.begin(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	h.view = tx
	h.t.Cleanup(func() { tx.Abort() })
	return tx.Base()
}

func (h *hub) revision() uint64 {
	h.t.Helper()
	tx, err := h.begin(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	defer tx.Abort()
	return tx.Manifest().Revision
}

func (h *hub) push(ref string, img v1.Image) {
	h.t.Helper()
	r, err := name.ParseReference(h.host+"/"+ref, name.Insecure)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := remote.Write(r, img); err != nil {
		h.t.Fatal(err)
	}
}

// tarLayer is a layer of files ("path" → content; a path with a slash at its end is a directory, a content that begins
// with "->" a link).
func tarLayer(t *testing.T, entries ...string) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		path, content, _ := strings.Cut(e, "=")
		h := &tar.Header{Name: path, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(1e9, 0), Uid: 1000, Gid: 50}
		if strings.HasSuffix(path, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o2755
		}
		if target, ok := strings.CutPrefix(content, "->"); ok {
			h.Typeflag, h.Linkname, h.Size, content = tar.TypeSymlink, target, 0, ""
		}
		if target, ok := strings.CutPrefix(content, "=>"); ok {
			h.Typeflag, h.Linkname, h.Size, content = tar.TypeLink, target, 0, ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func image(t *testing.T, cmd string, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	config.Config.Cmd = []string{cmd}
	config.Config.Env = []string{"PATH=/bin", "A=it's $HOME"}
	img, err = mutate.ConfigFile(img, config)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// text is a file's content at a revision, links followed by hand.
func text(t *testing.T, v *repo.Revision, path string) string {
	t.Helper()
	b, err := readFile(t.Context(), v, path)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return string(b)
}

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

func (h *hub) sync(list string, grace time.Duration) Report {
	h.t.Helper()
	l, err := wishlist.Parse("wishes.yaml", []byte("version: 1\ncvmfs_repo: "+fqrn+"\nuser: x\noutput_format: 'http://"+h.host+"/thin/$(image)'\ninput:\n"+list))
	if err != nil {
		h.t.Fatal(err)
	}
	s := Sync{Begin: h.begin, Source: h.source, FQRN: fqrn, List: l, ListName: "wishes", Grace: grace, Thin: true}
	r, err := s.Run(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

func TestSync(t *testing.T) {
	h := newHub(t)
	base := tarLayer(t, "a=1")
	for _, tag := range []string{"1.0", "1.1", "2.0"} {
		h.push("app:"+tag, image(t, tag, base, tarLayer(t, "v="+tag)))
	}
	wishes := "  - 'http://" + h.host + "/app:1.*'\n  - 'http://" + h.host + "/no:1'\n"
	r := h.sync(wishes, time.Hour)
	if len(r.Converted) != 2 || len(r.Failures) != 1 || r.Wishes != 3 {
		t.Fatalf("first run: %+v", r)
	}
	wishes = "  - 'http://" + h.host + "/app:1.*'\n"
	revision := h.revision()
	if r = h.sync(wishes, time.Hour); r.Unchanged != 2 || len(r.Converted) != 0 || h.revision() != revision {
		t.Errorf("second run: %+v, revision %d after %d", r, h.revision(), revision)
	}
	ref, err := name.ParseReference(h.host+"/thin/app:1.0", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	thin, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := thin.ConfigFile(); err != nil || !strings.Contains(strings.Join(c.Config.Env, " "), "CVMFS_IMAGE=true") {
		t.Errorf("thin image: %v", err)
	}
}

func TestSyncRemoves(t *testing.T) {
	h := newHub(t)
	h.push("app:1", image(t, "1", tarLayer(t, "v=1")))
	h.push("app:2", image(t, "2", tarLayer(t, "v=2")))
	both := "  - 'http://" + h.host + "/app:1'\n  - 'http://" + h.host + "/app:2'\n"
	one := "  - 'http://" + h.host + "/app:1'\n"
	h.sync(both, time.Hour)
	v := h.head()
	old := flat(t, v, "/"+h.host+"/app:2")
	if r := h.sync(one, time.Hour); len(r.Removed) != 0 {
		t.Errorf("removed at once: %v", r.Removed)
	}
	h.clock = h.clock.Add(2 * time.Hour)
	if r := h.sync(one, time.Hour); len(r.Removed) != 1 {
		t.Errorf("after the grace period the name goes: %v", r.Removed)
	}
	h.clock = h.clock.Add(2 * time.Hour)
	if r := h.sync(one, time.Hour); len(r.Removed) != 2 {
		t.Errorf("then its flat image and its layer: %v", r.Removed)
	}
	v = h.head()
	if _, err := v.Lookup(t.Context(), old); err == nil {
		t.Error("the flat image is still there")
	}
	if got := text(t, v, flat(t, v, "/"+h.host+"/app:1")+"/v"); got != "1" {
		t.Errorf("the image that is wished for has %q", got)
	}
}
