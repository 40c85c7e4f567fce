package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestOCI finds the OCI runtime and leaves its command line alone.
func TestOCI(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if file, err := findOCI(); err == nil || !strings.Contains(err.Error(), "flatrun-oci is not found") {
		t.Errorf("nothing to find: %s, %v", file, err)
	}
	want := filepath.Join(dir, ociProgram)
	if err := os.WriteFile(want, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if file, err := findOCI(); err != nil || file != want {
		t.Errorf("%s, %v; want %s", file, err, want)
	}
	v := findVerb("oci")
	var got []string
	v.run = func(_ *program, _ *options, args []string) error {
		got = args
		return nil
	}
	words := []string{"--root", "/x", "--help", "exec", "-t", "c1", "--", "sh"}
	if err := newProgram("flatrun", nil).runVerb(v, words); err != nil || !slices.Equal(got, words) {
		t.Errorf("passed on %q, %v; want %q", got, err, words)
	}
}
