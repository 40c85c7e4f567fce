package enter_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/enter"
)

// The test binary plays flatrun: called with a container verb, its constructor has done its work before main runs.
func TestMain(m *testing.M) {
	if role := os.Getenv("ENTER_TEST_ROLE"); role != "" {
		play(role)
		return
	}
	os.Exit(m.Run())
}

// report is what a started program sees of itself.
type report struct {
	Kind      enter.Kind
	New       enter.Namespaces
	UID, GID  int // as the state tells
	Inside    int // as the kernel tells inside
	Dir, Err  string
	Planned   bool
	PID       int
	Wd        string
	UIDMap    string
	GIDMap    string
	Inherited string // capabilities that an execve would keep
	Variable  bool   // FLATRUN_ENTER is still set
	CanMount  bool
}

func play(role string) {
	state := enter.Current()
	if text := os.Getenv("ENTER_TEST_PLAN"); text != "" {
		var p enter.Plan
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			die(err)
		}
		var err error
		if state, err = enter.Ensure(context.Background(), p, enter.StartOptions{}); err != nil {
			die(err)
		}
	}
	switch role {
	case "report":
		json.NewEncoder(os.Stdout).Encode(observe(state))
	case "sh":
		if state.Err != nil {
			die(state.Err)
		}
		os.Unsetenv("ENTER_TEST_ROLE")
		runtime.LockOSThread()
		if err := state.DieWithParent(); err != nil {
			die(err)
		}
		die(unix.Exec("/bin/sh", []string{"sh", "-c", os.Args[len(os.Args)-1]}, os.Environ()))
	}
}

func die(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(99)
}

func observe(s enter.State) report {
	r := report{Kind: s.Kind, New: s.New, UID: s.UID, GID: s.GID, Inside: os.Getuid(), Dir: s.Dir, Planned: s.Plan != nil, PID: os.Getpid()}
	if s.Err != nil {
		r.Err = s.Err.Error()
	}
	r.Wd, _ = os.Getwd()
	r.UIDMap, r.GIDMap = fields("/proc/self/uid_map"), fields("/proc/self/gid_map")
	_, r.Variable = os.LookupEnv("FLATRUN_ENTER")
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "CapInh:") || strings.HasPrefix(line, "CapAmb:") {
			r.Inherited += strings.Fields(line)[1] + " "
		}
	}
	r.CanMount = unix.Mount("none", "/mnt", "tmpfs", 0, "") == nil
	return r
}

func fields(path string) string {
	b, _ := os.ReadFile(path)
	return strings.Join(strings.Fields(string(b)), " ")
}

// program is a call of the test binary as flatrun, with directories of its own for sessions.
func program(t *testing.T, role string, plan *enter.Plan, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	// The race detector lets a process sleep for a second at its end.
	cmd.Env = append(os.Environ(), "ENTER_TEST_ROLE="+role, "GORACE=atexit_sleep_ms=0")
	if plan != nil {
		text, err := json.Marshal(plan)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, "ENTER_TEST_PLAN="+string(text))
	}
	cmd.Stderr = os.Stderr
	return cmd
}

// runtimeDir makes a XDG_RUNTIME_DIR for the test.
func runtimeDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", dir)
	return filepath.Join(dir, "flatrun")
}

func reportOf(t *testing.T, cmd *exec.Cmd) report {
	t.Helper()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v", cmd.Args, err)
	}
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%q says %q: %v", cmd.Args, out, err)
	}
	return r
}

// needNamespaces skips where ordinary users have no user namespaces.
func needNamespaces(t *testing.T) {
	t.Helper()
	if r := reportOf(t, program(t, "report", nil, "exec", "/", "true")); r.Err != "" {
		t.Skip(r.Err)
	}
}
