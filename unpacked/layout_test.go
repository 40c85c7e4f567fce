package unpacked

import "testing"

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
		{StackRoot(d), "/.stacks/30/" + hexA},
		{r.Path(), "/127.0.0.1:5055/library/tiny:2.0"},
		{Link(r.Path(), FlatRoot(d)), "../../.flat/30/" + hexA}, // as DUCC wrote it
		{Link("/a", "/b"), "b"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("got %s, want %s", tt.got, tt.want)
		}
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
