package beside

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestFind looks beside this program and in directories near it before it looks on PATH.
func TestFind(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	up := filepath.Base(filepath.Dir(self))
	onPath := filepath.Join(t.TempDir(), "tool")
	if err := os.WriteFile(onPath, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(onPath))
	for _, tt := range []struct {
		name string
		dirs []string
		want string
	}{
		{filepath.Base(self), []string{"."}, self},
		{filepath.Base(self), []string{"elsewhere", "../" + up}, self},
		{up, []string{".."}, ""}, // a directory
		{"tool", []string{".", "../libexec/flatrun"}, onPath},
		{"no such tool", []string{"."}, ""},
	} {
		got, err := Find(tt.name, tt.dirs...)
		if got != tt.want || (err == nil) != (tt.want != "") || err != nil && !errors.Is(err, exec.ErrNotFound) {
			t.Errorf("Find(%q, %q): %q, %v, want %q", tt.name, tt.dirs, got, err, tt.want)
		}
	}
}
