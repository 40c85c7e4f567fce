package enter_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/config"
	"github.com/flatrun/flatrun/mount/enter"
)

// unset takes away what may come from a batch job that runs the tests.
func unset(t *testing.T) {
	for _, name := range []string{"SLURM_JOB_ID", "SLURM_STEP_ID", "_CONDOR_SLOT", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID", "FLATRUN_CONFIG", "XDG_CONFIG_HOME"} {
		t.Setenv(name, "")
	}
	for _, o := range config.Overrides() {
		t.Setenv(o.Name, "")
	}
}

func sessionDir(t *testing.T, config string) string {
	t.Helper()
	dir, err := enter.SessionDir(config)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestSessionDir(t *testing.T) {
	unset(t)
	base := runtimeDir(t)
	login := filepath.Base(sessionDir(t, ""))
	if dir := sessionDir(t, ""); filepath.Dir(dir) != base || !strings.HasPrefix(login, "login") {
		t.Errorf("session directory %s", dir)
	}
	tests := []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"SLURM_JOB_ID": "123", "SLURM_STEP_ID": "0"}, "slurm-123.0"},
		{map[string]string{"SLURM_JOB_ID": "123", "SLURM_STEP_ID": "", "PBS_JOBID": "9"}, "slurm-123."},
		{map[string]string{"_CONDOR_SLOT": "slot1_2", "_CONDOR_SCRATCH_DIR": "/exec/dir_1"}, "condor-slot1_2-"},
		{map[string]string{"PBS_JOBID": "77.head/../x"}, "pbs-77.head_.._x"},
		{map[string]string{"FLUX_JOB_ID": strings.Repeat("f", 500)}, "flux-" + strings.Repeat("f", 48)},
	}
	for _, tt := range tests {
		t.Run(tt.want, func(t *testing.T) {
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			if got := filepath.Base(sessionDir(t, "")); !strings.HasPrefix(got, tt.want) || len(got) > 200 {
				t.Errorf("key %q, want %q", got, tt.want)
			}
		})
	}
}

// Two configurations have two sessions: the second must not be served from what the first one says.
func TestSessionDirByConfiguration(t *testing.T) {
	unset(t)
	runtimeDir(t)
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	link := file + ".link"
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	plain, given := sessionDir(t, ""), sessionDir(t, file)
	if plain == given {
		t.Error("--config makes no difference")
	}
	if sessionDir(t, link) != given {
		t.Error("one file by two names gives two sessions")
	}
	t.Run("FLATRUN_CONFIG", func(t *testing.T) {
		t.Setenv("FLATRUN_CONFIG", file)
		if sessionDir(t, "") != given {
			t.Error("FLATRUN_CONFIG and --config differ")
		}
	})
	for _, o := range config.Overrides() {
		t.Run(o.Name, func(t *testing.T) {
			t.Setenv(o.Name, "x")
			if sessionDir(t, "") == plain {
				t.Error("the variable changes the configuration but not the session")
			}
		})
	}
}

func TestSessionDirWithoutRuntimeDir(t *testing.T) {
	unset(t)
	open := t.TempDir()
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("/tmp/flatrun-%d", os.Getuid())
	for _, dir := range []string{"", "/nonexistent", open, "relative", "/"} {
		t.Setenv("XDG_RUNTIME_DIR", dir)
		if got := filepath.Dir(sessionDir(t, "")); got != want {
			t.Errorf("XDG_RUNTIME_DIR=%q: %s, want %s", dir, got, want)
		}
	}
}

func TestMakeDirRefuses(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("/usr belongs to root")
	}
	top := t.TempDir()
	mk := func(name string, mode os.FileMode) string {
		dir := filepath.Join(top, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	good := mk("good", 0o700)
	if err := os.Symlink(good, filepath.Join(top, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(good, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		good + "/new": "", good + "/new2": "",
		filepath.Join(top, "link", "x"): "is not a directory",
		good + "/file":                  "is not a directory",
		mk("open", 0o755) + "/x":        "is open to others",
		"/usr/x":                        "belongs to uid 0",
		top + "/missing/x/y":            "make the session's directory",
	} {
		err := enter.MakeDir(dir)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", dir, err, want)
		}
	}
}

// startWith starts a session whose program is a shell script.
func startWith(t *testing.T, ctx context.Context, script string) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "session")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return enter.Start(ctx, enter.StartOptions{Program: path})
}

func TestStartTellsWhatTheSessionSays(t *testing.T) {
	unset(t)
	runtimeDir(t)
	needNamespaces(t)
	for script, want := range map[string]string{
		"echo ready >&3": "",
		"echo 'c.yaml:3: unknown key' >&3; exit 1": "c.yaml:3: unknown key",
		"exit 1": "the session ended before it served",
		`[ "$1 $#" = "serve 2" ] && [ -z "$FLATRUN_ENTER" ] && [ "$(pwd)" = / ] && echo ready >&3`:               "",
		"grep -q 'CapEff:.*[1-9a-f]' /proc/self/status && ls /proc/self/fd | grep -qv '[4-9]' && echo ready >&3": "",
	} {
		err := startWith(t, t.Context(), script)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", script, err, want)
		}
	}
}

func TestStartIsBounded(t *testing.T) {
	unset(t)
	runtimeDir(t)
	needNamespaces(t)
	wait := filepath.Join(t.TempDir(), "end")
	if err := os.Mkdir(filepath.Dir(wait)+"/d", 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := startWith(t, ctx, "n=0; while [ ! -e "+wait+" ] && [ $n -lt 600 ]; do sleep 0.1; n=$((n+1)); done")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the deadline", err)
	}
	if err := os.WriteFile(wait, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDialWithoutSession(t *testing.T) {
	unset(t)
	base := runtimeDir(t)
	if err := enter.MakeDir(base + "/x"); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{base + "/x", base + "/none", "/none/none"} {
		if _, err := enter.Dial(dir); !errors.Is(err, enter.ErrNoSession) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}
