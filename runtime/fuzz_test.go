package runtime

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// FuzzProgram gives files of an image to what explains why they do not run.
func FuzzProgram(f *testing.F) {
	f.Add([]byte("#!/bin/sh -x\n"))
	f.Add([]byte("#! \n"))
	f.Add([]byte(elfHeader(62, "/lib/loader")))
	f.Add([]byte(elfHeader(183, "")))
	file := filepath.Join(f.TempDir(), "program")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(file, content, 0o755); err != nil {
			t.Fatal(err)
		}
		isScript(file)
		if interpreter(file) == "" && len(content) > 0 && content[0] != 0x7f {
			t.Error("no word for the interpreter")
		}
		if wrongFormat(file) == "" {
			t.Error("no word for the format")
		}
	})
}

// FuzzMount gives mounts of a specification to what translates them.
func FuzzMount(f *testing.F) {
	f.Add(`{"destination":"/a","type":"tmpfs","options":["mode=1777","size=5"]}`)
	f.Add(`{"destination":"/","type":"x-overlay","options":["x-lower=/a","size=x"]}`)
	f.Add(`{"type":"x-passwd","options":["x-line=a","x-make=777","x-or=/b"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var m specs.Mount
		if json.Unmarshal([]byte(text), &m) != nil {
			return
		}
		if v, err := vfsMount(m); err == nil && v.Target != m.Destination {
			t.Errorf("%q has become %q", m.Destination, v.Target)
		}
		rootOf(&specs.Spec{Root: &specs.Root{}, Mounts: []specs.Mount{m}})
	})
}
