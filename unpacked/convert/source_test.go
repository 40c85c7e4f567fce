package convert

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
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
