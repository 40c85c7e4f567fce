package convert

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/unpacked/publish"
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
	forThin bool
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
	c := Converter{Tx: tx, FQRN: fqrn, ForThin: h.forThin}
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
	return tx.Base().Manifest().Revision
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
	return layerOf(t, w, &b)
}

// layerOf is what was written into b by w.
func layerOf(t *testing.T, w *tar.Writer, b *bytes.Buffer) v1.Layer {
	t.Helper()
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
