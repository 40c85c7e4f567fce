package near

import (
	"slices"
	"strings"
	"testing"
)

func TestDistance(t *testing.T) {
	tests := []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0},
		{"kitten", "sitting", 3}, {"limit", "limti", 1}, {"ca", "abc", 3}, {"servers", "server", 1},
	}
	for _, tt := range tests {
		if got := Distance(tt.a, tt.b); got != tt.want {
			t.Errorf("Distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := Distance(tt.b, tt.a); got != tt.want {
			t.Errorf("Distance(%q, %q) = %d, want %d", tt.b, tt.a, got, tt.want)
		}
	}
}

func TestMatches(t *testing.T) {
	images := []string{
		"registry.hub.docker.com/library/debian:12", "registry.hub.docker.com/library/debian:11",
		"registry.hub.docker.com/library/fedora:35", "ghcr.io/a/python-numpy:3", "ghcr.io/a/b:1", "ghcr.io/a/b:1",
	}
	tests := []struct {
		want  string
		names []string
		n     int
		found string
	}{
		{"debian:13", images, 2, "registry.hub.docker.com/library/debian:11 registry.hub.docker.com/library/debian:12"},
		{"debain:12", images, 1, "registry.hub.docker.com/library/debian:12"},
		{"numpy", images, 3, "ghcr.io/a/python-numpy:3"},
		{"GHCR.io/a/b:2", images, 3, "ghcr.io/a/b:1"},
		{"proxy", []string{"proxies", "servers", "tag"}, 3, "proxies"},
		{"zzzz", images, 3, ""},
		{"", images, 3, ""},
		{"debian:13", images, 0, ""},
		{strings.Repeat("x", 10000), images, 3, ""},
	}
	for _, tt := range tests {
		got := Matches(tt.want, tt.names, tt.n)
		if strings.Join(got, " ") != tt.found {
			t.Errorf("Matches(%.20q) = %q, want %q", tt.want, got, tt.found)
		}
	}
}

func TestHint(t *testing.T) {
	if got := Hint("proxy", []string{"proxies", "tag"}); got != "; did you mean proxies?" {
		t.Errorf("got %q", got)
	}
	if got := Hint("zzz", []string{"proxies"}); got != "" {
		t.Errorf("got %q", got)
	}
}

func FuzzMatches(f *testing.F) {
	f.Add("debian:13", "registry/library/debian:12")
	f.Add("", "/")
	f.Fuzz(func(t *testing.T, want, name string) {
		got := Matches(want, []string{name, name}, 2)
		if len(got) > 1 || want == name && want != "" && len(want) <= maxLength && !slices.Equal(got, []string{name}) {
			t.Fatalf("Matches(%q, %q) = %q", want, name, got)
		}
	})
}
