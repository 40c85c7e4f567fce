package convert

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// bending is a registry's transport that changes the bodies of one digest's blob.
type bending struct {
	digest string
	change func([]byte) []byte
}

func (b bending) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || !strings.Contains(r.URL.Path, b.digest) {
		return resp, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	body = b.change(body)
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), -1
	resp.Header.Del("Content-Length")
	return resp, nil
}

// TestRegistryBlobs takes no other bytes than the manifest names, not even where they unpack to the same tar.
func TestRegistryBlobs(t *testing.T) {
	h := newHub(t)
	l := tarLayer(t, "a=1")
	digest, err := l.Digest()
	if err != nil {
		t.Fatal(err)
	}
	h.push("x:1", image(t, "x", l))
	same := func(b []byte) []byte { return b }
	for _, c := range []struct {
		name, want string // "": it is taken
		change     func([]byte) []byte
	}{
		{"as it is", "", same},
		{"another time in the gzip header", "sha256 checksum", func(b []byte) []byte { b[4] ^= 1; return b }},
		{"a byte more, which nobody reads", "", func(b []byte) []byte { return append(b, 0) }},
		{"a byte less", "verifying size", func(b []byte) []byte { return b[:len(b)-1] }},
	} {
		t.Run(c.name, func(t *testing.T) {
			tx, err := h.begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Abort()
			s := h.source
			s.Transport = bending{digest.Hex, c.change}
			images, err := s.Open(t.Context(), h.host+"/x:1", "")
			if err != nil {
				t.Fatal(err)
			}
			converter := Converter{Tx: tx, FQRN: fqrn}
			defer converter.Close()
			_, err = converter.Convert(t.Context(), images)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestConfigBound does not read a configuration that would fill the memory, neither of an image nor of one in an index.
func TestConfigBound(t *testing.T) {
	h := newHub(t)
	img := image(t, "x", tarLayer(t, "a=1"))
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.Config.Labels = map[string]string{"a": strings.Repeat("x", maxDocument)}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	h.push("x:1", img)
	ref, err := name.ParseReference(h.host+"/x:2", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: config.Platform()}})
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	digest, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	h.source.Transport = bending{digest.Hex, func(b []byte) []byte { t.Error("it is read"); return b }}
	for _, tag := range []string{"1", "2"} {
		if _, err := h.source.Open(t.Context(), h.host+"/x:"+tag, ""); err == nil || !strings.Contains(err.Error(), "its configuration has 8") {
			t.Errorf("x:%s: %v", tag, err)
		}
	}
}

// TestHubMirrors asks the mirrors of Docker Hub for its images by whatever name both go.
func TestHubMirrors(t *testing.T) {
	h := newHub(t)
	h.push("library/tool:1", image(t, "x", tarLayer(t, "a=1")))
	for _, of := range []string{"docker.io", "index.docker.io", "registry.hub.docker.com"} {
		s := Source{PlainHTTP: true, Mirrors: map[string][]string{of: {h.host}, "other.example.org": {"127.0.0.1:1"}}}
		for _, name := range []string{"tool:1", "docker://tool:1", "docker.io/tool:1", "registry.hub.docker.com/library/tool:1"} {
			if _, err := s.Open(t.Context(), name, ""); err != nil {
				t.Errorf("%s with a mirror of %s: %v", name, of, err)
			}
		}
	}
	for from, want := range map[string]bool{"docker.io=a.example.org:5000": true, "127.0.0.1:1=[::1]:2": true, "localhost=b": true, "=a.b": false, "a.b=": false, "a.b=http://c.d": false, "a.b=c.d/e": false, "http://a.b=c.d": false} {
		of, host, _ := strings.Cut(from, "=")
		if err := (Source{Mirrors: map[string][]string{of: {host}}}).Check(); (err == nil) != want {
			t.Errorf("mirror %s: %v", from, err)
		}
	}
}

// TestConvertWrongDiff refuses a configuration that calls a layer by the uncompressed digest of another, whether the layer
// is read for it or known already.
func TestConvertWrongDiff(t *testing.T) {
	h := newHub(t)
	mine, other := tarLayer(t, "a=mine"), tarLayer(t, "a=other")
	lying := func(text string, layers ...v1.Layer) v1.Image {
		img := image(t, text, layers...)
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		config = config.DeepCopy()
		if config.RootFS.DiffIDs[len(layers)-1], err = other.DiffID(); err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.ConfigFile(img, config); err != nil {
			t.Fatal(err)
		}
		return img
	}
	h.push("honest:1", image(t, "honest", mine))
	h.push("fresh:1", lying("fresh", tarLayer(t, "a=fresh")))
	h.push("known:1", lying("known", mine))
	h.push("twice:1", lying("twice", mine, mine))
	h.convert(h.host+"/honest:1", "")
	for _, name := range []string{"fresh", "known", "twice"} {
		tx, err := h.begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		images, err := h.source.Open(t.Context(), h.host+"/"+name+":1", "")
		if err != nil {
			t.Fatal(err)
		}
		c := Converter{Tx: tx, FQRN: fqrn}
		if _, err := c.Convert(t.Context(), images); err == nil || !strings.Contains(err.Error(), "uncompressed form") {
			t.Errorf("%s: %v", name, err)
		}
		c.Close()
		tx.Abort()
	}
}
