package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		args string
		want call
		rest []string
	}{
		{"status", call{}, []string{"status"}},
		{"--config f mount a.b /d", call{config: "f"}, []string{"mount", "a.b", "/d"}},
		{"mount --config=f a.b -c g /d", call{config: "g"}, []string{"mount", "a.b", "/d"}},
		{"umount --all --force", call{all: true, force: true}, []string{"umount"}},
		{"status --json", call{}, []string{"status"}},
		{"", call{}, nil},
	} {
		var c call
		words, err := c.parse(strings.Fields(tt.args))
		if err != nil || !slices.Equal(words, tt.rest) || c.config != tt.want.config || c.all != tt.want.all || c.force != tt.want.force {
			t.Errorf("%q: %+v %q %v", tt.args, c, words, err)
		}
	}
	if _, err := new(call).parse([]string{"--frob"}); err == nil {
		t.Error("an unknown flag passed")
	}
}

func TestUsageErrors(t *testing.T) {
	for _, args := range []string{"", "frob", "mount", "mount a b c", "umount", "config hide", "status x"} {
		if err := run(t.Context(), strings.Fields(args)); err == nil || !strings.Contains(err.Error(), "usage:") {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestAbsoluteSocket(t *testing.T) {
	t.Chdir("/usr")
	for given, want := range map[string]string{
		"unix:m.sock": "unix:/usr/m.sock", "unix:/run/m": "unix:/run/m", "unix:": "unix:", "tcp:h:1": "tcp:h:1", "": "",
	} {
		if got, err := absoluteSocket(given); err != nil || got != want {
			t.Errorf("%q: %q, %v", given, got, err)
		}
	}
}

func TestMountpoint(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", "")
	if fqrn, got, err := mountpoint([]string{"a.b"}); err != nil || fqrn != "a.b" || !strings.HasSuffix(got, "/mnt/a.b") {
		t.Errorf("%q %v", got, err)
	}
	if _, got, err := mountpoint([]string{"a.b", dir + "/../" + filepath.Base(dir)}); err != nil || got != dir {
		t.Errorf("%q %v", got, err)
	}
	for _, bad := range []string{file, dir + "/none"} {
		if _, _, err := mountpoint([]string{"a.b", bad}); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}
