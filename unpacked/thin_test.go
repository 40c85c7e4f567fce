package unpacked

import (
	"reflect"
	"strings"
	"testing"
)

func TestThinRoundTrip(t *testing.T) {
	thin := NewThin("https://ghcr.io/a/b:1", "unpacked.example.org", []Digest{digestA, digestA})
	thin.AddStack("unpacked.example.org", digestA)
	text, err := thin.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseThin(text)
	if err != nil || !reflect.DeepEqual(thin, again) {
		t.Fatalf("%s came back as %+v, %v", text, again, err)
	}
	fqrn, dir, err := again.Layers[0].Location()
	if err != nil || fqrn != "unpacked.example.org" || dir != LayerRoot(digestA) {
		t.Errorf("Location() = %q, %q, %v", fqrn, dir, err)
	}
	if _, dir, err := again.Layers[2].Location(); err != nil || dir != StackRoot(digestA) {
		t.Errorf("over the layers: %q, %v", dir, err)
	}
	if d, err := again.Layers[0].ParseDigest(); err != nil || d != digestA {
		t.Errorf("ParseDigest() = %q, %v", d, err)
	}
}

func TestParseThin(t *testing.T) {
	layer := `{"digest":"` + hexA + `","url":"cvmfs://r.example.org/layers/` + hexA + `"}`
	tests := []struct {
		name, text, fault string // fault: part of the error, "" where it is read
	}{
		{"docker2cvmfs", `{"version":"1.0","min_version":"1.0","origin":"a@b","layers":[` + layer + `]}`, ""},
		{"later minor version", `{"version":"1.3","new":true,"origin":"","layers":[` + layer + `]}`, ""},
		{"digest with algorithm", strings.Replace(`{"version":"1.0","layers":[`+layer+`]}`, `"`+hexA, `"sha256:`+hexA, 1), ""},
		{"empty", ``, "EOF"},
		{"not json", `version: 1`, "invalid character"},
		{"two values", `{"version":"1.0","layers":[` + layer + `]} {}`, "more than one"},
		{"no version", `{"layers":[` + layer + `]}`, "no version"},
		{"next version", `{"version":"2.0","layers":[` + layer + `]}`, `"2.0" is not known`},
		{"needs next version", `{"version":"1.0","min_version":"2.0","layers":[` + layer + `]}`, `"2.0" is not known`},
		{"no layers", `{"version":"1.0","layers":[]}`, "no layers"},
		{"bad digest", `{"version":"1.0","layers":[{"digest":"x","url":"cvmfs://r.e/x"}]}`, "layer 0: digest"},
		{"wrong scheme", `{"version":"1.0","layers":[{"digest":"` + hexA + `","url":"http://r.e/x"}]}`, "want cvmfs://"},
		{"no path", `{"version":"1.0","layers":[{"digest":"` + hexA + `","url":"cvmfs://r.e"}]}`, "not a clean path"},
		{"root", `{"version":"1.0","layers":[{"digest":"` + hexA + `","url":"cvmfs://r.e/"}]}`, "not a clean path"},
		{"climbs", `{"version":"1.0","layers":[{"digest":"` + hexA + `","url":"cvmfs://r.e/../x"}]}`, "not a clean path"},
		{"bad repository", `{"version":"1.0","layers":[{"digest":"` + hexA + `","url":"cvmfs://../x"}]}`, "not a fully qualified name"},
	}
	for _, tt := range tests {
		_, err := ParseThin([]byte(tt.text))
		if (err == nil) != (tt.fault == "") || err != nil && !strings.Contains(err.Error(), tt.fault) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.fault)
		}
	}
}

func TestCheckFQRN(t *testing.T) {
	for _, s := range []string{"unpacked.cern.ch", "a.b", "my_repo-1.example.org"} {
		if err := CheckFQRN(s); err != nil {
			t.Errorf("CheckFQRN(%q): %v", s, err)
		}
	}
	for _, s := range []string{"", "atlas", "..", ".a.b", "a..b", "a.", "a/b.c", "a b.c", "-a.b", "ä.b", "a.b\n", strings.Repeat("a.", 127)} {
		if CheckFQRN(s) == nil {
			t.Errorf("CheckFQRN(%q) passes", s)
		}
	}
}

func FuzzThin(f *testing.F) {
	text, err := NewThin("x", "r.example.org", []Digest{digestA}).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"version":"1.0","layers":[{"digest":"x","url":"cvmfs://"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		thin, err := ParseThin(data)
		if err != nil {
			return
		}
		for _, l := range thin.Layers {
			fqrn, dir, err := l.Location()
			if err != nil || CheckFQRN(fqrn) != nil || strings.Contains(dir+"/", "/../") || !strings.HasPrefix(dir, "/") {
				t.Fatalf("%q: %q %q %v", data, fqrn, dir, err)
			}
		}
		again, err := thin.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseThin(again); err != nil {
			t.Fatalf("%q is not read back: %v", again, err)
		}
	})
}

func TestThinStack(t *testing.T) {
	for layers, want := range map[string]string{"": "", "a": "a", "ab": "ab", "aa": "a", "aba": "ba", "abcbd": "acbd", "aeBecea": "Bcea"} {
		var thin Thin
		for _, l := range layers {
			thin.Layers = append(thin.Layers, ThinLayer{URL: string(l)})
		}
		got := ""
		for _, l := range thin.Stack() {
			got += l.URL
		}
		if got != want {
			t.Errorf("%s is stacked as %s, want %s", layers, got, want)
		}
	}
}
