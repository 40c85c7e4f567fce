package unpacked

import (
	"strings"
	"testing"
)

const (
	hexA    = "30afb7a6361c385da116661c882f13d39d63f82ad44db756ca1e846aeb03ffcf"
	digestA = "sha256:" + hexA
)

func TestParseReference(t *testing.T) {
	tests := []struct {
		in, registry string // registry: the default one
		path         string // "" where in is refused
		short        bool
	}{
		{"debian", "", "/registry.hub.docker.com/library/debian:latest", true},
		{"debian:12", "", "/registry.hub.docker.com/library/debian:12", true},
		{"debian:12", "docker.io", "/docker.io/library/debian:12", true},
		{"debian:12", "registry.example.org:5000", "/registry.example.org:5000/debian:12", true},
		{"cms/cmssw:el9", "", "/registry.hub.docker.com/cms/cmssw:el9", true},
		{"docker.io/debian", "", "/docker.io/library/debian:latest", false},
		{"docker://debian", "", "/registry.hub.docker.com/library/debian:latest", true},
		{"docker://ghcr.io/a/b:1", "", "/ghcr.io/a/b:1", false},
		{"https://registry.hub.docker.com/library/fedora:35", "", "/registry.hub.docker.com/library/fedora:35", false},
		{"http://127.0.0.1:5055/library/tiny:1.0", "", "/127.0.0.1:5055/library/tiny:1.0", false},
		{"http://registry/tiny:1.0", "", "/registry/tiny:1.0", false},
		{"localhost/x", "", "/localhost/x:latest", false},
		{"localhost:5000/x:y", "", "/localhost:5000/x:y", false},
		{"HOST/x", "", "/HOST/x:latest", false},
		{"[::1]:5000/x", "", "/[::1]:5000/x:latest", false},
		{"gitlab-registry.cern.ch/a/b/c__d.e---f:V_1.2-3", "", "/gitlab-registry.cern.ch/a/b/c__d.e---f:V_1.2-3", false},
		{"debian@" + digestA, "", "/registry.hub.docker.com/library/debian@" + digestA, true},
		{"debian:12@" + digestA, "", "/registry.hub.docker.com/library/debian@" + digestA, true},
		{"a/" + strings.Repeat("b", 228), "", "/registry.hub.docker.com/a/" + strings.Repeat("b", 228) + ":latest", true},

		{in: ""}, {in: ":12"}, {in: "@" + digestA}, {in: "docker://"}, {in: "ftp://x/y"},
		{in: "Debian"}, {in: "a//b"}, {in: "/a"}, {in: "a/"}, {in: "a/../b"}, {in: "./a"}, {in: "ghcr.io/../a"},
		{in: "a___b"}, {in: "a._b"}, {in: "-a"}, {in: "a-"}, {in: "a b"}, {in: "a\x00"}, {in: "ä"},
		{in: "debian:"}, {in: "debian:-x"}, {in: "debian:a b"}, {in: "debian:*"}, {in: "debian:" + strings.Repeat("x", 129)},
		{in: "debian@"}, {in: "debian@sha256:abc"}, {in: "debian@md5:d41d8cd98f00b204e9800998ecf8427e"},
		{in: "debian@" + strings.ToUpper(digestA)}, {in: "debian@sha256:" + strings.ToUpper(hexA)},
		{in: "host:port/x"}, {in: "host:0/x"}, {in: "host:65536/x"}, {in: "host:+80/x"}, {in: "a..b/x"}, {in: "-a.b/x"}, {in: "a_b.c/x"},
		{in: "[::1/x"}, {in: "[127.0.0.1]:5/x"}, {in: "[fe80::1%25lo]/x"},
		{in: strings.Repeat("a/", 130) + "b"},
	}
	for _, tt := range tests {
		r, err := ParseReference(tt.in, tt.registry)
		if tt.path == "" {
			if err == nil {
				t.Errorf("ParseReference(%q) = %v, want an error", tt.in, r)
			}
			continue
		}
		if err != nil || r.Path() != tt.path || r.Short != tt.short {
			t.Errorf("ParseReference(%q) = %q short=%v, %v; want %q short=%v", tt.in, r.Path(), r.Short, err, tt.path, tt.short)
		}
	}
}

func TestParsePattern(t *testing.T) {
	for _, in := range []string{"https://ghcr.io/a/b:*", "ghcr.io/a/b:v1.*-el*", "ghcr.io/a/b:1"} {
		if _, err := ParsePattern(in, ""); err != nil {
			t.Errorf("ParsePattern(%q): %v", in, err)
		}
	}
	for _, in := range []string{"ghcr.io/a/*:1", "*/a:1", "ghcr.io/a/b:?"} {
		if r, err := ParsePattern(in, ""); err == nil {
			t.Errorf("ParsePattern(%q) = %v, want an error", in, r)
		}
	}
}

func TestErrorsNameTheImage(t *testing.T) {
	for _, in := range []string{"Debian", "debian:a b", "x@sha256:1", "ftp://x", "host:0/x"} {
		if _, err := ParseReference(in, ""); err == nil || !strings.Contains(err.Error(), in) {
			t.Errorf("ParseReference(%q): error %v does not name it", in, err)
		}
	}
}

func TestCandidates(t *testing.T) {
	tests := []struct{ in, want string }{
		{"debian:12", `
			/registry.hub.docker.com/library/debian:12
			/registry.hub.docker.com/debian:12
			/docker.io/library/debian:12
			/docker.io/debian:12
			/index.docker.io/library/debian:12
			/index.docker.io/debian:12
			/registry-1.docker.io/library/debian:12
			/registry-1.docker.io/debian:12
			/library/debian:12
			/debian:12`},
		{"docker.io/a/b", `
			/docker.io/a/b:latest
			/registry.hub.docker.com/a/b:latest
			/index.docker.io/a/b:latest
			/registry-1.docker.io/a/b:latest`},
		{"ghcr.io/a/b:1", `/ghcr.io/a/b:1`},
		{"ghcr.io/a/b:1@" + digestA, `
			/ghcr.io/a/b@` + digestA + `
			/ghcr.io/a/b:` + digestA + `
			/.flat/30/` + hexA},
	}
	for _, tt := range tests {
		r, err := ParseReference(tt.in, "")
		if err != nil {
			t.Fatal(err)
		}
		if got, want := strings.Join(r.Candidates(), " "), strings.Join(strings.Fields(tt.want), " "); got != want {
			t.Errorf("%s:\n got %s\nwant %s", tt.in, got, want)
		}
	}
	r, err := ParseReference("tool", "registry.example.org")
	if err != nil {
		t.Fatal(err)
	}
	want := "/registry.example.org/tool:latest /registry.example.org/library/tool:latest /tool:latest /library/tool:latest"
	if got := strings.Join(r.Candidates(), " "); got != want {
		t.Errorf("tool:\n got %s\nwant %s", got, want)
	}
}

func TestCutPlatform(t *testing.T) {
	for in, want := range map[string]string{
		"debian:12@linux-arm64": "debian:12 @linux-arm64", "docker://a.b/c@linux-arm64-v8": "docker://a.b/c @linux-arm64-v8", "windows@windows-amd64-10.0.1": "windows @windows-amd64-10.0.1",
		"debian": "debian ", "debian@" + digestA: "debian@" + digestA + " ", "debian@linux": "debian@linux ", "debian@linux-a/b": "debian@linux-a/b ", "@": "@ ",
	} {
		if name, platform := CutPlatform(in); name+" "+platform != want {
			t.Errorf("%s: %q and %q, want %q", in, name, platform, want)
		}
	}
}

func FuzzReference(f *testing.F) {
	for _, s := range []string{"debian", "docker://ghcr.io/a/b:1@" + digestA, "localhost:5000/x:y", "[::1]:5/x", "a__b.c--d:T.e-f", "A/b"} {
		f.Add(s, "")
		f.Add(s, "registry.example.org:5000")
	}
	f.Fuzz(func(t *testing.T, in, registry string) {
		r, err := ParseReference(in, registry)
		if err != nil {
			return
		}
		for _, p := range append(r.Candidates(), r.Path()) {
			if !strings.HasPrefix(p, "/") || strings.Contains(p, "/../") || strings.Contains(p, "//") || strings.HasSuffix(p, "/") {
				t.Fatalf("%q: path %q", in, p)
			}
		}
		if !looksLikeHost(r.Registry) {
			return // only a scheme or the default made it a registry
		}
		again, err := ParseReference(r.String(), "")
		if err != nil {
			t.Fatalf("%q: %q is not read back: %v", in, r, err)
		}
		again.Scheme, again.Short = r.Scheme, r.Short
		if again != r {
			t.Fatalf("%q: %+v came back as %+v", in, r, again)
		}
	})
}
