package unpacked

import (
	"slices"
	"testing"
)

func TestPaths(t *testing.T) {
	r, err := ParseReference("http://127.0.0.1:5055/library/tiny:2.0", "")
	if err != nil {
		t.Fatal(err)
	}
	d := Digest(digestA)
	tests := []struct{ got, want string }{
		{LayerDir(d), "/.layers/30/" + hexA},
		{LayerRoot(d), "/.layers/30/" + hexA + "/layerfs"},
		{LayerOrigin(d), "/.layers/30/" + hexA + "/.metadata/origin.json"},
		{LayerConfig(d), "/.layers/30/" + hexA + "/.metadata/layers.json"},
		{FlatRoot(d), "/.flat/30/" + hexA},
		{ChainRoot(d), "/.chains/30/" + hexA},
		{r.ManifestPath(), "/.metadata/127.0.0.1:5055/library/tiny:2.0/manifest.json"},
		{r.Path(), "/127.0.0.1:5055/library/tiny:2.0"},
		{r.PlatformPath("linux/arm64/v8"), "/127.0.0.1:5055/library/tiny:2.0@linux-arm64-v8"},
		{Link(r.Path(), FlatRoot(d)), "../../.flat/30/" + hexA}, // as DUCC wrote it
		{Link("/a", "/b"), "b"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("got %s, want %s", tt.got, tt.want)
		}
	}
	r.Digest = d
	want := []string{"/127.0.0.1:5055/library/tiny:2.0", "/127.0.0.1:5055/library/tiny@" + digestA}
	if got := r.Links(); !slices.Equal(got, want) {
		t.Errorf("Links() = %q, want %q", got, want)
	}
}

// TestChainIDs holds the ids against those in a repository that DUCC 2.12 wrote.
func TestChainIDs(t *testing.T) {
	layers := []Digest{
		"sha256:48af9769a64bf879f50a718b1a6654aaaf97510b046f2f02958bd0ed0a0c7651",
		"sha256:2196977293e188562d859dba17c415387ea0459433adc3cebe2a0008d344e20c",
		"sha256:2e378fdbbba2e4534954a7716d1c27c81a5f86ccf2daf0c1fbd28198453148b9",
		"sha256:7d29609da6795ea80ccd9427c6d2196df999141719d74851e46cae7b03bd0341",
	}
	written := []Digest{
		"sha256:45b8122eadc2214ffef1c041f5edd14070ac3dcd2d11b755b48bc90dc771affd",
		"sha256:c81988361469ad03990a50f82d4ded493989185fcaefbcb290d3fb83e727535e",
		"sha256:e518f0cc36c34c240897490dcfe13ddcd3b7b264f71df3cf1b55d7052174ab08",
		"sha256:fe759c08445a6e70ccabf6e5155bdf7878b441650dd1ad269d54ba9935f34fe1",
	}
	got := ChainIDs(layers)
	slices.Sort(got)
	if !slices.Equal(got, written) {
		t.Errorf("got %q\nDUCC wrote %q", got, written)
	}
	if got := ChainIDs(nil); len(got) != 0 {
		t.Errorf("no layers: %q", got)
	}
}

func TestImageOf(t *testing.T) {
	tests := []struct {
		path string
		want Digest
	}{
		{"../../.flat/30/" + hexA, digestA},
		{"/cvmfs/unpacked.cern.ch/.flat/30/" + hexA + "/usr/bin", digestA},
		{"/.flat/31/" + hexA, ""},
		{"/.flat/30/30af", ""},
		{"/.flat/30", ""},
		{"/.layers/30/" + hexA, ""},
		{"", ""},
	}
	for _, tt := range tests {
		if got, ok := ImageOf(tt.path); got != tt.want || ok != (tt.want != "") {
			t.Errorf("ImageOf(%q) = %q, %v", tt.path, got, ok)
		}
	}
	if got, ok := LayerOf("/.layers/30/" + hexA + "/layerfs"); !ok || got != digestA {
		t.Errorf("LayerOf = %q, %v", got, ok)
	}
}

func TestParseDigest(t *testing.T) {
	d, err := ParseDigest(digestA)
	if err != nil || d.Algorithm() != "sha256" || d.Hex() != hexA || d.String() != digestA {
		t.Errorf("ParseDigest(%q) = %q, %v", digestA, d, err)
	}
	for _, s := range []string{"", hexA, "sha256", "sha256:", "sha512:" + hexA, "sha256:" + hexA + "0", "sha256:" + hexA[1:] + "g"} {
		if d, err := ParseDigest(s); err == nil {
			t.Errorf("ParseDigest(%q) = %q, want an error", s, d)
		}
	}
	if got := Sum(nil); got != "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" {
		t.Errorf("Sum(nil) = %s", got)
	}
	// The zero digest is the caller's fault, but must not be a crash.
	if got := FlatRoot(""); got != "/.flat/" {
		t.Errorf("FlatRoot of nothing = %q", got)
	}
}
