package oci

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestDefaultRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root's directory is the host's: needs an ordinary user")
	}
	dir := t.TempDir()
	getenv := func(string) string { return dir }
	for range 2 { // made, then found
		root, err := DefaultRoot(getenv)
		if err != nil || root != filepath.Join(dir, "flatrun/oci") {
			t.Fatalf("%s, %v", root, err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "flatrun/oci")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v (%v), want mode 0700", info, err)
	}
}

func TestOwnDir(t *testing.T) {
	dir := t.TempDir()
	open, link, file := filepath.Join(dir, "open"), filepath.Join(dir, "link"), filepath.Join(dir, "file")
	if err := os.Mkdir(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{open: "written to by others", link: "not a directory", file: "not a directory", "/nonexistent/x": "no such file"} {
		if err := ownDir(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if os.Geteuid() != 0 {
		if err := ownDir("/"); err == nil || !strings.Contains(err.Error(), "belongs to uid 0") {
			t.Errorf("/: %v", err)
		}
	}
}

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]unix.Signal{"TERM": unix.SIGTERM, "SIGKILL": unix.SIGKILL, "usr1": unix.SIGUSR1, "sighup": unix.SIGHUP, "9": 9, "0": 0, "64": 64} {
		if got, err := ParseSignal(text); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "SIG", "NONE", "-1", "65", "9x"} {
		if got, err := ParseSignal(text); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
}

func TestParseUser(t *testing.T) {
	for text, want := range map[string]specs.User{"": {UID: 1, GID: 2}, "5": {UID: 5, GID: 2}, "5:6": {UID: 5, GID: 6}} {
		got := specs.User{UID: 1, GID: 2}
		if err := parseUser(text, &got); err != nil || got.UID != want.UID || got.GID != want.GID {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"root", "5:", ":5", "-1", "4294967296", "5:6:7"} {
		if err := parseUser(text, &specs.User{}); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestDescendants(t *testing.T) {
	parents := map[int]int{1: 0, 10: 1, 11: 10, 12: 11, 20: 1, 21: 20, 30: 31, 31: 30}
	for root, want := range map[int][]int{10: {10, 11, 12}, 20: {20, 21}, 12: {12}, 99: {}, 30: {30, 31}} {
		if got := descendants(parents, map[int]bool{root: true}); !slices.Equal(got, want) {
			t.Errorf("of %d: %v, want %v", root, got, want)
		}
	}
	table, err := processTable()
	if err != nil || table[os.Getpid()] != os.Getppid() {
		t.Errorf("this process's parent is %d (%v), want %d", table[os.Getpid()], err, os.Getppid())
	}
}

func TestConvertRlimits(t *testing.T) {
	got, err := convertRlimits([]specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 10, Hard: 20}})
	if err != nil || len(got) != 1 || got[0].Type != unix.RLIMIT_NOFILE || got[0].Soft != 10 || got[0].Hard != 20 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, name := range []string{"", "NOFILE", "RLIMIT_", "RLIMIT_X"} {
		if _, err := convertRlimits([]specs.POSIXRlimit{{Type: name}}); err == nil {
			t.Errorf("%q: no error", name)
		}
	}
}

func TestIOCheck(t *testing.T) {
	for _, tt := range []struct {
		io       IO
		terminal bool
		ok       bool
	}{
		{IO{}, false, true}, {IO{}, true, true}, {IO{Detach: true}, false, true}, {IO{Detach: true}, true, false},
		{IO{Detach: true, ConsoleSocket: "s"}, true, true}, {IO{Detach: true, ConsoleSocket: "s"}, false, false}, {IO{ConsoleSocket: "s"}, true, false},
	} {
		if err := tt.io.check(tt.terminal); (err == nil) != tt.ok {
			t.Errorf("%+v, terminal %t: %v", tt.io, tt.terminal, err)
		}
	}
}

// TestMerge leaves alone what an update does not name.
func TestMerge(t *testing.T) {
	pids := int64(5)
	to := &cgroups.Resources{Memory: 1, CpuShares: 2, CpusetCpus: "0"}
	merge(to, &cgroups.Resources{Memory: 10, PidsLimit: &pids, CpuQuota: -1})
	if to.Memory != 10 || to.CpuShares != 2 || to.CpusetCpus != "0" || to.PidsLimit == nil || *to.PidsLimit != 5 || to.CpuQuota != -1 {
		t.Errorf("%+v", to)
	}
}
