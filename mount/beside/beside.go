// Package beside finds the other programs of this installation.
package beside

import (
	"os"
	"os/exec"
	"path/filepath"
)

// Find looks for a program in directories relative to that of this program, in order, and then on PATH. An error is that of
// [exec.LookPath].
func Find(name string, dirs ...string) (string, error) {
	if self, err := os.Executable(); err == nil {
		for _, dir := range dirs {
			file := filepath.Join(filepath.Dir(self), dir, name)
			if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
				return file, nil
			}
		}
	}
	return exec.LookPath(name)
}
