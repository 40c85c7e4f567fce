package image

import (
	"os"
	"path/filepath"
	"testing"
)

func TestIsThin(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]bool{
		`{"version": "1.0", "layers": []}`: true,
		"\n\t {\"layers\":1}":              true,
		`{"version": "1.0"}`:               false,
		`["layers"]`:                       false,
		"":                                 false,
		"#!/bin/sh\necho '\"layers\"'\n":   false,
	} {
		file := filepath.Join(dir, "thin.json")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := IsThin(file); got != want {
			t.Errorf("%q: %v", text, got)
		}
		kind, _, err := Classify(file)
		if (err == nil && kind == Repository) != want {
			t.Errorf("Classify of %q: %v, %v", text, kind, err)
		}
	}
	if IsThin(dir) || IsThin(filepath.Join(dir, "absent")) {
		t.Error("a directory or nothing is no thin image")
	}
	if kind, _, err := Classify("oci-archive:thin.tar"); err != nil || kind != Repository {
		t.Errorf("an archive: %v, %v", kind, err)
	}
}
