package cas

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestSum(t *testing.T) {
	for _, tc := range []struct {
		a          Algorithm
		data, want string
	}{
		{SHA1, "", "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
		{SHA1, "abc", "a9993e364706816aba3e25717850c26c9cd0d89d"},
		{RMD160, "", "9c1185a5c5e9fc54612808977ee8f548b2258d31-rmd160"},
		{RMD160, "abc", "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc-rmd160"},
		{SHAKE128, "", "7f9c2ba4e88f827d616045507605853ed73b8093-shake128"},
		{SHAKE128, "abc", "5881092dd818bf5cf8a3ddb793fbcba74097d5c5-shake128"},
	} {
		if got := Sum(tc.a, []byte(tc.data)).String(); got != tc.want {
			t.Errorf("%v of %q: %s, want %s", tc.a, tc.data, got, tc.want)
		}
		w := tc.a.New()
		for _, b := range []byte(tc.data) {
			w.Write([]byte{b})
			w.Sum(nil) // does not end the writing
		}
		if got := finish(tc.a, w).String(); got != tc.want || w.Size() != len(w.Sum(nil)) {
			t.Errorf("%v of %q by bytes: %s, want %s", tc.a, tc.data, got, tc.want)
		}
	}
}

func TestParseAlgorithm(t *testing.T) {
	for _, a := range []Algorithm{SHA1, RMD160, SHAKE128} {
		if got, err := ParseAlgorithm(a.String()); err != nil || got != a {
			t.Errorf("%v reads back as %v, error %v", a, got, err)
		}
	}
	for _, s := range []string{"", "md5", "SHA1", "algorithm(0)", Algorithm(9).String()} {
		if a, err := ParseAlgorithm(s); err == nil {
			t.Errorf("%q gave %v", s, a)
		}
	}
}

func TestParseHash(t *testing.T) {
	hex := strings.Repeat("0123456789abcdef", 3)[:40]
	for _, s := range []string{hex, hex + "-rmd160", hex + "-shake128"} {
		h, err := ParseHash(s)
		if err != nil || h.String() != s {
			t.Errorf("%q reads as %v, error %v", s, h, err)
		}
		if again, err := NewHash(h.Algorithm(), h.Bytes()); err != nil || again != h {
			t.Errorf("%v from bytes is %v, error %v", h, again, err)
		}
		text, _ := json.Marshal(map[Hash]Hash{h: h, {}: {}})
		var back map[Hash]Hash
		if err := json.Unmarshal(text, &back); err != nil || back[h] != h || len(back) != 2 {
			t.Errorf("JSON %s gives %v, error %v", text, back, err)
		}
	}
	for _, s := range []string{"", "ab", hex[:39], hex + "C", hex + "-sha1", hex + "-rmd16", hex + "-SHAKE128", strings.ToUpper(hex), hex[:39] + "g", hex[:32], hex + hex} {
		if h, err := ParseHash(s); err == nil {
			t.Errorf("%q gave %v", s, h)
		}
	}
	for _, n := range []int{0, 16, 19, 21, 32} {
		if _, err := NewHash(SHA1, make([]byte, n)); err == nil {
			t.Errorf("%d bytes were accepted", n)
		}
	}
	if _, err := NewHash(0, make([]byte, 20)); err == nil {
		t.Error("no algorithm was accepted")
	}
	if h := (Hash{}); !h.IsZero() || h.String() != "" || h.UnmarshalText([]byte("x")) == nil {
		t.Error("the zero value is something")
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add("da39a3ee5e6b4b0d3255bfef95601890afd80709-shake128")
	f.Add("DA39a3ee5e6b4b0d3255bfef95601890afd80709")
	f.Fuzz(func(t *testing.T, s string) {
		if h, err := ParseHash(s); err == nil && h.String() != s {
			t.Fatalf("%q reads as %v", s, h)
		}
	})
}

func TestNames(t *testing.T) {
	for _, tc := range []struct{ hash, name, alt string }{
		{"da39a3ee5e6b4b0d3255bfef95601890afd80709", "data/da/39a3ee5e6b4b0d3255bfef95601890afd80709C", ".cvmfsalt-da39a3ee5e6b4b0d3255bfef95601890afd80709C"},
		{"9c1185a5c5e9fc54612808977ee8f548b2258d31-rmd160", "data/9c/1185a5c5e9fc54612808977ee8f548b2258d31-rmd160C", ".cvmfsalt-9c1185a5c5e9fc54612808977ee8f548b2258d31-rmd160C"},
	} {
		h, err := ParseHash(tc.hash)
		if err != nil {
			t.Fatal(err)
		}
		o := Object{Hash: h, Suffix: CatalogSuffix}
		if o.Name() != tc.name || o.AltName() != tc.alt || o.String() != tc.name {
			t.Errorf("%s, %s, want %s, %s", o.Name(), o.AltName(), tc.name, tc.alt)
		}
		o.Suffix = FileSuffix
		if o.Name()+"C" != tc.name {
			t.Errorf("file: %s", o.Name())
		}
	}
}
