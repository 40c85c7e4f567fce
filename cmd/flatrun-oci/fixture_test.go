package main

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/runtime/oci"
)

const (
	programVariable = "FLATRUN_OCI_TEST" // makes the test binary the program
	patience        = time.Minute        // for what takes milliseconds on an idle machine
)

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		main()
	}
	// As conmon and containerd's shim do, so that the end of a detached process can be waited for.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// engine calls the program as a container engine does.
type engine struct {
	t    *testing.T
	root string // state directory
	log  string
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	probeUserNamespace(t)
	dir := t.TempDir()
	e := &engine{t: t, root: filepath.Join(dir, "state"), log: filepath.Join(dir, "log.json")}
	t.Cleanup(func() {
		if left, _ := os.ReadDir(e.root); len(left) > 0 {
			t.Errorf("the state directory still holds %v", left)
			for _, entry := range left {
				e.call("delete", "--force", entry.Name())
			}
		}
	})
	return e
}

func probeUserNamespace(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("unshare", "--user", "--map-root-user", "true").CombinedOutput(); err != nil {
		t.Skipf("no user namespaces for ordinary users here: %v: %s", err, out)
	}
}

// outcome is how a call ended.
type outcome struct {
	stdout, stderr string
	code           int
}

// command is the program with the engine's global flags.
func (e *engine) command(args ...string) *exec.Cmd {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	e.t.Cleanup(cancel)
	self, err := os.Executable()
	if err != nil {
		e.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, append([]string{"--root", e.root, "--log", e.log, "--log-format", "json"}, args...)...)
	cmd.Env = append(os.Environ(), programVariable+"=1", "GORACE=atexit_sleep_ms=0") // the race detector waits a second at the end of each program
	cmd.WaitDelay = patience                                                         // a container that inherited the output may outlive the call
	return cmd
}

// call runs the program. Its output goes to files: a container that goes on holds them open, and a pipe would not end.
func (e *engine) call(args ...string) outcome {
	e.t.Helper()
	return e.finish(e.command(args...))
}

func (e *engine) finish(cmd *exec.Cmd) outcome {
	e.t.Helper()
	dir := e.t.TempDir()
	var files [2]*os.File
	for i, name := range []string{"out", "err"} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			e.t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	cmd.Stdout, cmd.Stderr = files[0], files[1]
	_ = cmd.Run()
	var o outcome
	for f, to := range map[*os.File]*string{files[0]: &o.stdout, files[1]: &o.stderr} {
		data, err := os.ReadFile(f.Name())
		if err != nil {
			e.t.Fatal(err)
		}
		*to = string(data)
	}
	o.code = cmd.ProcessState.ExitCode()
	return o
}

// must is a call that has to succeed.
func (e *engine) must(args ...string) string {
	e.t.Helper()
	o := e.call(args...)
	if o.code != 0 {
		e.t.Fatalf("%s: exit %d: %s", strings.Join(args, " "), o.code, o.stderr)
	}
	return o.stdout
}

// state asks for a container's state.
func (e *engine) state(id string) oci.State {
	e.t.Helper()
	var s oci.State
	if err := json.Unmarshal([]byte(e.must("state", id)), &s); err != nil {
		e.t.Fatal(err)
	}
	return s
}

// await polls until done says so.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s in vain for %s", patience, what)
		}
	}
}

// reap waits for a detached process by its number, as an engine does.
func reap(t *testing.T, pid int) unix.WaitStatus {
	t.Helper()
	var status unix.WaitStatus
	await(t, "the end of process "+strconv.Itoa(pid), func() bool {
		got, err := unix.Wait4(pid, &status, unix.WNOHANG, nil)
		if err != nil {
			t.Fatalf("wait for process %d: %v", pid, err)
		}
		return got == pid
	})
	return status
}

func readPID(t *testing.T, file string) int {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(data))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// newBundle makes a bundle as an engine would for root: no user namespace in it. The script is run by a shell.
func newBundle(t *testing.T, script string, edit func(*specs.Spec)) string {
	t.Helper()
	dir := t.TempDir()
	makeRoot(t, filepath.Join(dir, "rootfs"))
	spec := oci.ExampleSpec(false)
	spec.Process.Terminal = false
	spec.Process.Args = []string{"sh", "-c", script}
	if edit != nil {
		edit(spec)
	}
	writeJSON(t, filepath.Join(dir, "config.json"), spec)
	return dir
}

func writeJSON(t *testing.T, file string, value any) {
	t.Helper()
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(value); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// makeRoot makes a root file system of busybox alone.
func makeRoot(t *testing.T, root string) {
	t.Helper()
	file, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("no busybox here: install busybox-static")
	}
	program, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	if libraries, _ := program.ImportedLibraries(); len(libraries) > 0 {
		t.Skip("busybox is not static: install busybox-static")
	}
	for _, dir := range []string{"bin", "proc", "sys", "dev", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	for name := range strings.FieldsSeq("sh cat echo id ls sleep tty mkdir pwd") {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
}

// sharing takes namespaces out of a configuration.
func sharing(spec *specs.Spec, kinds ...specs.LinuxNamespaceType) {
	var left []specs.LinuxNamespace
	for _, n := range spec.Linux.Namespaces {
		shared := false
		for _, k := range kinds {
			shared = shared || n.Type == k
		}
		if !shared {
			left = append(left, n)
		}
	}
	spec.Linux.Namespaces = left
}
