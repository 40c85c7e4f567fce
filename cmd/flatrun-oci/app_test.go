package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// TestFeatures reads the answer with the specification's types.
func TestFeatures(t *testing.T) {
	e := newEngine(t)
	var f features.Features
	if err := json.Unmarshal([]byte(e.must("features")), &f); err != nil {
		t.Fatal(err)
	}
	if f.OCIVersionMin != "1.0.0" || !strings.HasPrefix(f.OCIVersionMax, "1.") || !slices.Contains(f.Hooks, "createRuntime") || !slices.Contains(f.Linux.Namespaces, "time") || !slices.Contains(f.MountOptions, "rbind") {
		t.Errorf("%+v", f)
	}
	if _, err := os.Stat(e.root); err == nil {
		t.Error("features made a state directory")
	}
}

// TestLog finds an error where engines read it and where people do.
func TestLog(t *testing.T) {
	e := newEngine(t)
	o := e.call("create", "--bundle", t.TempDir(), "c1")
	if o.code != 1 || o.stdout != "" || !strings.HasPrefix(o.stderr, "flatrun-oci create: bundle: ") {
		t.Errorf("%+v", o)
	}
	data, err := os.ReadFile(e.log)
	if err != nil {
		t.Fatal(err)
	}
	var line struct{ Level, Msg, Time string }
	if err := json.Unmarshal(data, &line); err != nil || line.Level != "error" || line.Msg+"\n" != o.stderr || line.Time == "" {
		t.Errorf("log %q (%v)", data, err)
	}
	for args, want := range map[string]string{
		"--log-format xml list":     "text or json",
		"--rootless perhaps list":   "true, false or auto",
		"--log /nonexistent/x list": "/nonexistent/x",
		"--nonsense":                "nonsense",
		"frobnicate":                "unknown command",
		"":                          "no command",
		"state":                     "usage: flatrun-oci state",
		"state a b":                 "usage: flatrun-oci state",
		"kill a NONSENSE":           `"NONSENSE" does not exist`,
		"kill a 99":                 "99 does not exist",
		"events a":                  "--stats",
		"update --memory x a":       "number of bytes",
		"list --format xml":         "table or json",
		"state ../../etc":           "invalid container ID",
		"create -b /nonexistent a":  "/nonexistent",
		"delete a":                  "does not exist",
		"update -r /nonexistent a":  "/nonexistent",
	} {
		if o := e.call(strings.Fields(args)...); o.code != 1 || !strings.Contains(o.stderr, want) {
			t.Errorf("%q: %+v, want %q", args, o, want)
		}
	}
}

// TestSpec writes a configuration that runs as it is.
func TestSpec(t *testing.T) {
	e := newEngine(t)
	dir := t.TempDir()
	makeRoot(t, filepath.Join(dir, "rootfs"))
	e.must("spec", "--rootless", "--bundle", dir)
	if o := e.call("spec", "--bundle", dir); o.code != 1 || !strings.Contains(o.stderr, "exists") {
		t.Errorf("a second spec: %+v", o)
	}
	cmd := e.command("run", "-b", dir, "c1")
	cmd.Stdin = strings.NewReader("exit 8\n") // its process has a terminal
	if o := e.finish(cmd); o.code != 8 {
		t.Errorf("%+v", o)
	}
}

// TestHelp says what there is.
func TestHelp(t *testing.T) {
	e := newEngine(t)
	if out := e.must("--version"); !strings.HasPrefix(out, "flatrun-oci version ") || !strings.Contains(out, "\nspec: 1.") {
		t.Errorf("--version: %q", out)
	}
	out := e.must("--help")
	for _, v := range verbs() {
		if !strings.Contains(out, "  "+v.name+" ") {
			t.Errorf("--help lacks %s", v.name)
		}
		if text := e.must(v.name, "--help"); !strings.HasPrefix(text, "Usage: flatrun-oci "+v.name) {
			t.Errorf("%s --help: %q", v.name, text)
		}
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "512": 512, "64k": 64 << 10, "10M": 10 << 20, "2gb": 2 << 30, "1t": 1 << 40, "-1": -1} {
		if got, err := parseBytes(text); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "k", "1x", "1kk", "99999999999t", "1.5g"} {
		if got, err := parseBytes(text); err == nil {
			t.Errorf("%q: %d, want an error", text, got)
		}
	}
}
