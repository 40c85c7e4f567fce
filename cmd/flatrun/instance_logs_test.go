package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSeekLines(t *testing.T) {
	long := strings.Repeat("x", 100<<10) // more than is read at once
	for _, c := range []struct {
		name, text string
		n          int
		want       string
	}{
		{"none of some", "a\nb\n", 0, ""},
		{"the last", "a\nb\n", 1, "b\n"},
		{"the last, not ended", "a\nb", 1, "b"},
		{"all", "a\nb\n", 2, "a\nb\n"},
		{"more than there are", "a\nb\n", 3, "a\nb\n"},
		{"empty lines", "a\n\n\n", 2, "\n\n"},
		{"only an empty line", "\n", 1, "\n"},
		{"an empty file", "", 5, ""},
		{"long lines", "a\n" + long + "\n" + long + "\n", 2, long + "\n" + long + "\n"},
	} {
		file := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := seekLines(f, c.n); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		got, err := io.ReadAll(f)
		if f.Close(); err != nil || string(got) != c.want {
			t.Errorf("%s: %d bytes, want %d (%v)", c.name, len(got), len(c.want), err)
		}
	}
}
