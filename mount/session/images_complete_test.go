package session

import (
	"slices"
	"testing"
)

func TestCompletions(t *testing.T) {
	list := []Image{
		{Name: "reg.org/library/tool", Tag: "1"}, {Name: "reg.org/library/tool", Tag: "1", Platform: "linux/arm64", Path: "/cvmfs/r.org/reg.org/library/tool:1@linux-arm64"}, {Name: "reg.org/team/tap", Tag: "2"},
		{Name: "other.org/library/toy", Tag: "3"}, {Name: "reg.org/library/tool", Tag: "1"},
	}
	for word, want := range map[string][]string{
		"":        {"reg.org/library/tool:1", "reg.org/library/tool:1@linux-arm64", "reg.org/team/tap:2", "other.org/library/toy:3"},
		"t":       {"tool:1", "tool:1@linux-arm64", "team/tap:2"},
		"library": {"library/tool:1", "library/tool:1@linux-arm64"},
		"other":   {"other.org/library/toy:3"},
		"tool:2":  nil,
	} {
		if got := Completions(list, word, "reg.org"); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func FuzzCompilePattern(f *testing.F) {
	for _, p := range []string{"debian", "a*b?[x-z]:*", "[", "docker://x/y@sha256:00", "[!]]", `[\]`} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		if re, err := compilePattern(pattern); err == nil {
			re.MatchString("registry.example.org/library/tool:1.0")
		}
	})
}
