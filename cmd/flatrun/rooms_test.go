package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/flatrun/flatrun"

// rooms is the import table of the design: who may import whom in this module.
// "" stands for the standard library and modules, which are free.
var rooms = map[string][]string{
	"mount/deflate":           {"mount/deflate/symbols"},
	"mount/deflate/symbols":   {},
	"mount/cas":               {"mount/deflate"},
	"mount/fetch":             {"mount/cas"},
	"mount/catalog":           {"mount/cas"},
	"mount/repo":              {"mount/cas", "mount/catalog"},
	"mount/config/shell":      {},
	"mount/config/site":       {},
	"mount/config":            {"mount/cas", "mount/fetch", "mount/config/shell", "mount/config/site", "unpacked", "unpacked/near"},
	"mount/fusefs":            {"mount/repo", "mount/catalog", "mount/cas"},
	"mount/beside":            {},
	"mount/probe":             {},
	"mount/enter":             {"mount/beside"},
	"mount/authz":             {},
	"mount/session":           {"mount/beside", "mount/enter", "mount/authz", "mount/fusefs", "mount/repo", "mount/catalog", "mount/cas", "mount/fetch", "mount/config", "mount/config/site", "mount/prefetch", "mount/pack", "mount/session/keep", "unpacked", "unpacked/near"},
	"mount/session/keep":      {},
	"mount/prefetch":          {"mount/repo", "mount/catalog", "mount/cas"},
	"mount/pack":              {"mount/prefetch", "mount/repo", "mount/catalog", "mount/cas", "unpacked"},
	"mount/pack/squeeze":      {},
	"mount/repotest":          {"mount/repo", "mount/catalog", "mount/cas", "mount/fetch"},
	"mount/snapshotter":       {"mount/enter", "mount/session", "mount/config", "unpacked"},
	"unpacked":                {},
	"unpacked/near":           {},
	"unpacked/wishlist":       {"unpacked", "unpacked/near"},
	"unpacked/layer":          {"unpacked", "unpacked/publish", "mount/catalog", "mount/cas", "mount/deflate"},
	"unpacked/convert":        {"unpacked", "unpacked/wishlist", "unpacked/layer", "unpacked/publish", "mount/repo", "mount/catalog", "mount/cas"},
	"unpacked/publish":        {"unpacked", "mount/repo", "mount/catalog", "mount/cas", "mount/fetch", "mount/deflate"},
	"unpacked/hub":            {"unpacked", "unpacked/*", "mount/repo", "mount/catalog", "mount/cas", "mount/fetch"},
	"runtime/image":           {"unpacked"},
	"runtime/ident":           {},
	"runtime/gpu":             {},
	"runtime/cdi":             {},
	"runtime/limits":          {},
	"runtime/instance":        {"mount/enter", "runtime/image"},
	"runtime/seccomp":         {},
	"runtime/vfs":             {},
	"runtime/singularity":     {"runtime/image"},
	"runtime":                 {"runtime/ident", "runtime/seccomp", "runtime/vfs", "runtime/image", "runtime/singularity"},
	"runtime/oci":             {},
	"cmd/show":                {},
	"cmd/flatrun":             {"cmd/show", "runtime", "runtime/gpu", "runtime/cdi", "runtime/limits", "runtime/seccomp", "runtime/instance", "runtime/image", "runtime/singularity", "mount/beside", "mount/enter", "mount/probe", "mount/config/site", "unpacked", "unpacked/near"},
	"cmd/flatrun-oci":         {"mount/beside", "runtime/oci"},
	"cmd/flatrun-session":     {"cmd/show", "mount/*", "mount/config/*", "unpacked", "unpacked/near"},
	"cmd/flathub":             {"cmd/show", "mount/*", "mount/config/site", "unpacked", "unpacked/*"},
	"cmd/flatrun-snapshotter": {"mount/*", "unpacked"},
	"scripts/bench":           {"mount/enter"},
}

// homes says which packages may link a heavy dependency, directly or through others.
var homes = []struct {
	dependency string
	below      []string
}{
	{"github.com/hanwen/go-fuse", []string{"mount/fusefs", "mount/session", "mount/snapshotter", "cmd/flatrun-session", "cmd/flatrun-snapshotter"}},
	{"zombiezen.com/go/sqlite", []string{"mount/", "unpacked/", "cmd/flatrun-session", "cmd/flathub", "cmd/flatrun-snapshotter"}},
	{"gopkg.in/yaml.v3", []string{"mount/config", "mount/session", "mount/snapshotter", "unpacked/wishlist", "unpacked/convert", "unpacked/hub", "cmd/flatrun-session", "cmd/flathub", "cmd/flatrun-snapshotter"}},
	{"net/http", []string{"mount/fetch", "mount/config", "mount/session", "mount/repotest", "mount/snapshotter", "unpacked/layer", "unpacked/convert", "unpacked/publish", "unpacked/hub", "cmd/flatrun-session", "cmd/flathub", "cmd/flatrun-snapshotter"}},
	{"github.com/google/go-containerregistry", []string{"unpacked/convert", "unpacked/publish", "unpacked/layer", "unpacked/hub", "cmd/flathub"}},
	{"github.com/minio/minio-go", []string{"unpacked/publish", "unpacked/layer", "unpacked/convert", "unpacked/hub", "cmd/flathub"}},
	{module + "/mount/pack/squeeze", []string{"mount/pack/squeeze", "cmd/flathub"}}, // libzstd
	{"google.golang.org/grpc", []string{"mount/snapshotter", "cmd/flatrun-snapshotter"}},
	{"mvdan.cc/sh", []string{"runtime", "runtime/", "cmd/flatrun"}},
	{"github.com/opencontainers/runc", []string{"runtime", "runtime/", "cmd/flatrun", "cmd/flatrun-oci"}},
	{"github.com/spf13/pflag", []string{"cmd/"}},
}

// startup are the packages that flatrun must not link: their initialisation or
// size is paid a million times a day.
var startup = []string{"net/http", "crypto/tls", "text/template", "gopkg.in/yaml.v3", "github.com/hanwen/go-fuse", "github.com/opencontainers/runc/libcontainer/nsenter", "zombiezen.com/go/sqlite", "modernc.org/", "github.com/google/go-containerregistry", "github.com/minio/minio-go", "google.golang.org/grpc"}

type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Standard   bool
}

// listPackages asks the go command for this module's packages.
func listPackages(t *testing.T) map[string]listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,Deps", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	packages := make(map[string]listed)
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages[strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")] = p
	}
}

// TestRooms keeps imports going down only.
func TestRooms(t *testing.T) {
	for room, p := range listPackages(t) {
		if strings.HasPrefix(room, "scripts/") && rooms[room] == nil {
			continue // what people run may use anything
		}
		allowed, known := rooms[room]
		if !known {
			t.Errorf("%s is not in the table: say who it may import", room)
			continue
		}
		for _, imported := range p.Imports {
			below, ours := strings.CutPrefix(imported, module+"/")
			if ours && !slices.ContainsFunc(allowed, func(a string) bool { return matches(a, below) }) {
				t.Errorf("%s imports %s, which is not below it", room, below)
			}
		}
	}
}

// TestHomes keeps heavy dependencies where they belong.
func TestHomes(t *testing.T) {
	for room, p := range listPackages(t) {
		if strings.HasPrefix(room, "scripts/") {
			continue
		}
		for _, h := range homes {
			if links(p, h.dependency) && !slices.ContainsFunc(h.below, func(b string) bool { return b == room || strings.HasSuffix(b, "/") && strings.HasPrefix(room, b) }) {
				t.Errorf("%s links %s", room, h.dependency)
			}
		}
	}
}

// TestStartup keeps the program that is started most free of what it pays for.
func TestStartup(t *testing.T) {
	p := listPackages(t)["cmd/flatrun"]
	for _, dependency := range startup {
		if links(p, dependency) {
			t.Errorf("flatrun links %s", dependency)
		}
	}
}

func links(p listed, dependency string) bool {
	return slices.ContainsFunc(p.Deps, func(d string) bool {
		return d == dependency || strings.HasPrefix(d, strings.TrimSuffix(dependency, "/")+"/")
	})
}

// matches compares a room with a pattern that may end in /*.
func matches(pattern, room string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(room, prefix)
	}
	return pattern == room
}
