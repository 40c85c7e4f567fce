package wishlist

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/flatrun/flatrun/unpacked"
)

const sample = `# images of the experiment
version: 1
user: nobody
cvmfs_repo: ducc.example.org
output_format: '$(scheme)://127.0.0.1:5055/thin/$(image)'
input:
        - 'http://127.0.0.1:5055/library/tiny:1.0'
        - "https://registry.hub.docker.com/library/debian:1*"
        - ghcr.io/a/b@sha256:30afb7a6361c385da116661c882f13d39d63f82ad44db756ca1e846aeb03ffcf
`

func TestParse(t *testing.T) {
	l, err := Parse("wish.yaml", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	if l.Repository != "ducc.example.org" || l.User != "nobody" || len(l.Wishes) != 3 || len(l.Bad)+len(l.Warnings) != 0 {
		t.Fatalf("got %+v", l)
	}
	w := l.Wishes[1]
	if w.Line != 8 || !w.IsPattern() || !w.Matches("12") || w.Matches("sid") || w.With("12").Path() != "/registry.hub.docker.com/library/debian:12" {
		t.Errorf("second wish: %+v", w)
	}
	if l.Wishes[0].IsPattern() || l.Wishes[0].Image.Scheme != "http" {
		t.Errorf("first wish: %+v", l.Wishes[0])
	}
}

func TestParseFaults(t *testing.T) {
	const head = "version: 1\ncvmfs_repo: r.example.org\n"
	tests := []struct {
		name, text, fault string
	}{
		{"empty", "", "w.yaml: the wish list is empty"},
		{"no mapping", "- a\n", "w.yaml:1: want keys and values"},
		{"not yaml", "version: [", "w.yaml: yaml: line 1"},
		{"version", "version: 2\ncvmfs_repo: r.example.org\ninput: []\n", "w.yaml:1: version 2 is not known"},
		{"repository", "version: 1\ncvmfs_repo: r\ninput: []\n", `w.yaml:2: cvmfs_repo: repository "r"`},
		{"null repository", "version: 1\ncvmfs_repo:\ninput: []\n", "w.yaml:2: cvmfs_repo: want one word"},
		{"missing input", head, "input is missing"},
		{"missing repository", "version: 1\ninput: []\n", "cvmfs_repo is missing"},
		{"twice", head + "version: 1\ninput: []\n", "w.yaml:3: version is given twice"},
		{"input no list", head + "input: debian\n", "w.yaml:3: input: want a list"},
		{"variable", head + "output_format: $(tga)\ninput: []\n", "w.yaml:3: output_format: $(tga) is not known; did you mean tag?"},
		{"open variable", head + "output_format: $(tag\ninput: []\n", "w.yaml:3: output_format: no ) after $(tag"},
	}
	for _, tt := range tests {
		l, err := Parse("w.yaml", []byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.fault) {
			t.Errorf("%s: %+v, error %v, want %q", tt.name, l, err, tt.fault)
		}
	}
	_, err := Parse("w.yaml", []byte("version: 3\ncvmfs_repo: r\ninput: []\n"))
	var fault *Error
	if !errors.As(err, &fault) || fault.Line != 1 || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("two faults: %v", err)
	}
}

func TestBadWishesDoNotStopTheOthers(t *testing.T) {
	l, err := Parse("w.yaml", []byte(`version: 1
cvmfs_repo: r.example.org
inputs: []
input:
  - Debian
  - debian:12
  - {a: b}
  -
`))
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Wishes) != 1 || l.Wishes[0].Line != 6 {
		t.Errorf("wishes: %+v", l.Wishes)
	}
	bad := fmt.Sprint(l.Bad)
	for _, line := range []string{"w.yaml:5: image \"Debian\"", "w.yaml:7: ", "w.yaml:8: "} {
		if !strings.Contains(bad, line) {
			t.Errorf("%s lacks %s", bad, line)
		}
	}
	if got := fmt.Sprint(l.Warnings); !strings.Contains(got, "w.yaml:3: inputs is not known and has no effect; did you mean input?") {
		t.Errorf("warnings: %s", got)
	}
}

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, tag string
		want         bool
	}{
		{"1.0", "1.0", true}, {"1.0", "1.00", false}, {"*", "", true}, {"*", "x", true},
		{"1.*", "1.2", true}, {"1.*", "12", false}, {"*-el9", "v1-el9", true}, {"*-el9", "v1-el90", false},
		{"v*-el*", "v1-el9", true}, {"a*b*c", "abc", true}, {"a*b*c", "acb", false}, {"a*a", "a", false},
		{"a**b", "ab", true}, {"*.*", "x", false}, {"1.*", "1x2", false},
	}
	for _, tt := range tests {
		if got := match(tt.pattern, tt.tag); got != tt.want {
			t.Errorf("match(%q, %q) = %v", tt.pattern, tt.tag, got)
		}
	}
}

func TestThinName(t *testing.T) {
	const digest = "sha256:30afb7a6361c385da116661c882f13d39d63f82ad44db756ca1e846aeb03ffcf"
	tests := []struct {
		format, image, want string // want "" for an error
	}{
		{DefaultOutput, "https://ghcr.io/a/b:1", "ghcr.io/a/b_thin:1"},
		{"$(scheme)://127.0.0.1:5055/thin/$(image)", "http://127.0.0.1:5055/library/tiny:1.0", "127.0.0.1:5055/thin/library/tiny:1.0"},
		{"https://reg.example.org/$(registry)/$(repository)$(reference)", "ghcr.io/a/b:1", "reg.example.org/ghcr.io/a/b:1"},
		{"https://reg.example.org/t/$(image)", "ghcr.io/a/b@" + digest, "reg.example.org/t/a/b:" + digest[7:]},
		{"https://reg.example.org/t/$(image)", "ghcr.io/a/b:1@" + digest, "reg.example.org/t/a/b:1"},
		{"https://reg.example.org/fixed:$(digest)", "ghcr.io/a/b:1", ""},
	}
	for _, tt := range tests {
		image, err := unpacked.ParseReference(tt.image, "")
		if err != nil {
			t.Fatal(err)
		}
		l := List{Output: tt.format}
		got, err := l.ThinName(image)
		if (err != nil) != (tt.want == "") || err == nil && got.String() != tt.want {
			t.Errorf("%s of %s = %s, %v; want %q", tt.format, tt.image, got, err, tt.want)
		}
	}
}

func FuzzWishList(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("version: 1\ncvmfs_repo: r.e\noutput_format: '$(x'\ninput: [a, 'b:*', {c: d}, &x e, *x]\n"))
	f.Add([]byte("? [a]\n: b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := Parse("w.yaml", data)
		if err != nil {
			return
		}
		for _, w := range l.Wishes {
			if w.Line < 1 {
				t.Fatalf("wish without a line: %+v", w)
			}
			if _, err := l.ThinName(w.With("latest")); err == nil && w.Matches("latest") && w.Image.Tag == "" {
				t.Fatalf("a wish without tag matches: %+v", w)
			}
		}
	})
}

func TestWishNames(t *testing.T) {
	const digest = "@sha256:30afb7a6361c385da116661c882f13d39d63f82ad44db756ca1e846aeb03ffcf"
	for _, tt := range []struct {
		wish, image string
		want        bool
	}{
		{"r.io/a:1", "r.io/a:1", true},
		{"r.io/a:1", "r.io/a:2", false},
		{"http://r.io/a:1*", "r.io/a:12", true},
		{"r.io/a:1*", "r.io/b:1", false},
		{"r.io/a:*", "r.io/a/b:1", false},
		{"r.io/a" + digest, "r.io/a" + digest, true},
		{"r.io/a:1" + digest, "r.io/a:1" + digest, true},
		{"r.io/a:*", "r.io/a" + digest, false},
	} {
		image, err := unpacked.ParsePattern(tt.wish, "")
		if err != nil {
			t.Fatal(err)
		}
		if got := (Wish{Image: image}).Names(tt.image); got != tt.want {
			t.Errorf("%s names %s: %v", tt.wish, tt.image, got)
		}
	}
}
