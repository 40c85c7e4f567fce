package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestStorageVerbs passes cache and prefetch on to a program that prints what it was given.
func TestStorageVerbs(t *testing.T) {
	bin := t.TempDir()
	write(t, filepath.Join(bin, sessionProgram), "#!/bin/sh\necho \"$@\"\ntrue >&3 || exit 9\ncase \"$*\" in *broken*) echo it is broken >&2; exit 1;; *pipe*) kill -PIPE $$;; esac\n")
	if err := os.Chmod(filepath.Join(bin, sessionProgram), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	if own, err := os.Executable(); err == nil {
		if _, err := os.Stat(filepath.Join(filepath.Dir(own), sessionProgram)); err == nil {
			t.Skip("there is a real one beside the test")
		}
	}
	for _, tt := range []struct {
		args, want string
		code       int
	}{
		{"cache info --json", "cache --progress=3 --json info", 0},
		{"cache list ab*", "cache --progress=3 list ab*", 0},
		{"cache clean --size 5GB", "cache --progress=3 --size=5GB clean", 0},
		{"cache clean -a", "cache --progress=3 --all clean", 0},
		{"cache clean -f", "cache --progress=3 --all clean", 0},
		{"cache clean --force --days 30", "cache --progress=3 --days=30 clean", 0},
		{"cache clean -n -f -T blob,oci", "cache --progress=3 --all --dry-run clean", 0},
		{"cache clean -T library", "", 0},
		{"cache clean -T nonsense", "", 255},
		{"cache list -v --type all", "cache --progress=3 list", 0},
		{"cache verify --repair", "cache --progress=3 --repair verify", 0},
		{"--config /c cache export /f", "cache --progress=3 --config /c export /f", 0},
		{"--quiet cache import /f", "cache --progress=3 import /f", 0},
		{"prefetch --into /d a.b/c:1", "prefetch --progress=3 --into=/d a.b/c:1", 0},
		{"prefetch a.b/c:1 --profile", "prefetch --progress=3 a.b/c:1 --profile", 0},
		{"cache import broken", "", exitFatal},
		{"cache list pipe", "", 141},
		{"cache export", "", exitUsage},
		{"cache frob", "", exitUsage},
		{"prefetch", "", exitUsage},
	} {
		var out strings.Builder
		p := newProgram("flatrun", os.Environ())
		p.stdout = &out
		p.log = newMessages(&strings.Builder{})
		code := p.exit(p.main(strings.Fields(tt.args)))
		if code != tt.code || tt.want != "" && out.String() != tt.want+"\n" {
			t.Errorf("%s: %q, exit %d; want %q, exit %d", tt.args, out.String(), code, tt.want, tt.code)
		}
	}
}
