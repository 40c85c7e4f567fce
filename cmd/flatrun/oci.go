package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// ociProgram is the OCI runtime, a program of its own so that this one does not pay for libcontainer.
const ociProgram = "flatrun-oci"

// runOCI becomes the OCI runtime; all that follows the verb is its command line.
func runOCI(p *program, _ *options, args []string) error {
	file, err := findOCI()
	if err != nil {
		return err
	}
	return fatal("%s: %w", file, syscall.Exec(file, append([]string{ociProgram}, args...), p.environ))
}

// findOCI looks beside this program, in ../libexec/flatrun and on PATH.
func findOCI() (string, error) {
	if self, err := os.Executable(); err == nil {
		dir := filepath.Dir(self)
		for _, file := range []string{filepath.Join(dir, ociProgram), filepath.Join(dir, "../libexec/flatrun", ociProgram)} {
			if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
				return file, nil
			}
		}
	}
	file, err := exec.LookPath(ociProgram)
	if err != nil {
		return "", fatal("%s is not found: install it beside flatrun, in ../libexec/flatrun, or on PATH", ociProgram)
	}
	return file, nil
}
