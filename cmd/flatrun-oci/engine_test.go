package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/runtime/oci"
)

// TestContainerd goes through a container's life in the calls of containerd's shim.
func TestContainerd(t *testing.T) {
	e := newEngine(t)
	bundle := newBundle(t, "while :; do sleep 1; done", func(s *specs.Spec) { s.Annotations = map[string]string{"org.example.job": "a=b"} })
	pidFile := filepath.Join(t.TempDir(), "pid")
	e.must("create", "--bundle", bundle, "--pid-file", pidFile, "--no-new-keyring", "c1")
	pid := readPID(t, pidFile)
	s := e.state("c1")
	if s.Status != "created" || s.PID != pid || s.Bundle != bundle || s.Rootfs != filepath.Join(bundle, "rootfs") || s.Annotations["org.example.job"] != "a=b" || s.Created.IsZero() {
		t.Errorf("after create: %+v, process %d", s, pid)
	}
	e.must("start", "c1")
	if s := e.state("c1"); s.Status != "running" {
		t.Errorf("after start: %s", s.Status)
	}
	if o := e.call("start", "c1"); o.code != 1 || !strings.Contains(o.stderr, "running already") {
		t.Errorf("second start: %+v", o)
	}
	if o := e.call("create", "--bundle", bundle, "c1"); o.code != 1 || !strings.Contains(o.stderr, "already exists") {
		t.Errorf("second create: %+v", o)
	}
	if o := e.call("delete", "c1"); o.code != 1 || !strings.Contains(o.stderr, "kill it first") {
		t.Errorf("delete of a running container: %+v", o)
	}

	process := filepath.Join(t.TempDir(), "process.json")
	writeJSON(t, process, specs.Process{Args: []string{"sh", "-c", "while :; do sleep 1; done"}, Env: []string{"PATH=/bin"}, Cwd: "/"})
	execFile := filepath.Join(t.TempDir(), "exec-pid")
	e.must("exec", "--process", process, "--pid-file", execFile, "--detach", "c1")
	executed := readPID(t, execFile)
	await(t, "both processes in the list", func() bool {
		var pids []int
		if err := json.Unmarshal([]byte(e.must("ps", "--format", "json", "c1")), &pids); err != nil {
			t.Fatal(err)
		}
		return slices.Contains(pids, pid) && slices.Contains(pids, executed)
	})
	e.must("kill", "c1", "9")
	if status := reap(t, executed); status.Signal() != unix.SIGKILL {
		t.Errorf("the executed process ended with %v", status)
	}
	if status := reap(t, pid); status.Signal() != unix.SIGKILL {
		t.Errorf("the container ended with %v", status)
	}
	if s := e.state("c1"); s.Status != "stopped" || s.PID != 0 {
		t.Errorf("after kill: %+v", s)
	}
	if o := e.call("kill", "c1", "9"); o.code != 1 || !strings.Contains(o.stderr, "not running") {
		t.Errorf("kill of a stopped container: %+v", o)
	}
	e.must("kill", "--all", "c1", "9")
	e.must("delete", "c1")
	if o := e.call("state", "c1"); o.code != 1 || !strings.Contains(o.stderr, "does not exist") {
		t.Errorf("state after delete: %+v", o)
	}
	e.must("delete", "--force", "c1")
}

// TestConmon reads a detached container's exit status as conmon does: by waiting for the process it was left.
func TestConmon(t *testing.T) {
	e := newEngine(t)
	bundle := newBundle(t, "cat <&3; exit 3", nil)
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.WriteString("through descriptor 3"); err != nil {
		t.Fatal(err)
	}
	out.Close()
	pidFile := filepath.Join(t.TempDir(), "pid")
	cmd := e.command("create", "--bundle", bundle, "--pid-file", pidFile, "--preserve-fds", "1", "c1")
	cmd.ExtraFiles = []*os.File{in}
	stdout := filepath.Join(t.TempDir(), "stdout")
	if cmd.Stdout, err = os.Create(stdout); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	e.must("start", "c1")
	if status := reap(t, readPID(t, pidFile)); status.ExitStatus() != 3 {
		t.Errorf("exit status %d, want 3", status.ExitStatus())
	}
	if text, err := os.ReadFile(stdout); err != nil || string(text) != "through descriptor 3" {
		t.Errorf("printed %q (%v)", text, err)
	}
	e.must("delete", "c1")
	if o := e.call("create", "--bundle", bundle, "--preserve-fds", "90", "c1"); o.code != 1 || !strings.Contains(o.stderr, "is not open") {
		t.Errorf("descriptors that are not there: %+v", o)
	}
}

// TestSlurm makes the calls of Slurm's documentation: the state directory and the flags as they stand there.
func TestSlurm(t *testing.T) {
	e := newEngine(t)
	const id = "vm.alice.17.0.0"
	slurm := func(args ...string) outcome {
		t.Helper()
		return e.call(append([]string{"--rootless=true", "--root=" + e.root}, args...)...)
	}
	if o := slurm("run", id, "-b", newBundle(t, "id -u; exit 5", nil)); o.code != 5 || o.stdout != "0\n" {
		t.Errorf("run: %+v", o)
	}
	if o := slurm("create", id, "-b", newBundle(t, "while :; do sleep 1; done", nil)); o.code != 0 {
		t.Fatalf("create: %+v", o)
	}
	pid := e.state(id).PID
	if o := slurm("start", id); o.code != 0 {
		t.Fatalf("start: %+v", o)
	}
	if o := slurm("kill", "-a", id, "KILL"); o.code != 0 {
		t.Fatalf("kill: %+v", o)
	}
	reap(t, pid)
	if s := e.state(id); s.Status != "stopped" {
		t.Errorf("after kill: %s", s.Status)
	}
	for range 2 {
		if o := slurm("delete", "--force", id); o.code != 0 {
			t.Errorf("delete: %+v", o)
		}
	}
	if o := slurm("kill", "-a", id, "KILL"); o.code != 1 {
		t.Errorf("kill of a container that is gone: %+v", o)
	}
}

// TestForce removes a container in every state.
func TestForce(t *testing.T) {
	e := newEngine(t)
	bundle := newBundle(t, "while :; do sleep 1; done", nil)
	for _, start := range []bool{false, true} {
		e.must("create", "--bundle", bundle, "c1")
		pid := e.state("c1").PID
		if start {
			e.must("start", "c1")
		}
		e.must("delete", "--force", "c1")
		reap(t, pid)
	}
	// A created container was never started, so its removal needs no force.
	e.must("create", "--bundle", bundle, "c1")
	e.must("delete", "c1")
	// What a killed create leaves behind.
	if err := os.MkdirAll(filepath.Join(e.root, "c2"), 0o700); err != nil {
		t.Fatal(err)
	}
	e.must("delete", "--force", "c2")
}

// TestConsoleSocket receives a container's terminal and talks through it.
func TestConsoleSocket(t *testing.T) {
	e := newEngine(t)
	bundle := newBundle(t, "tty; read word; echo got $word; exit 4", func(s *specs.Spec) {
		s.Process.Terminal = true
		s.Process.ConsoleSize = &specs.Box{Width: 101, Height: 31}
	})
	if o := e.call("create", "--bundle", bundle, "c1"); o.code != 1 || !strings.Contains(o.stderr, "console socket") {
		t.Errorf("a terminal for nobody: %+v", o)
	}
	dir, err := os.MkdirTemp("", "oci") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "console")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	pidFile := filepath.Join(dir, "pid")
	e.must("create", "--bundle", bundle, "--console-socket", socket, "--pid-file", pidFile, "c1")
	master := acceptTerminal(t, listener)
	size, err := unix.IoctlGetWinsize(int(master.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col != 101 || size.Row != 31 {
		t.Errorf("size of the terminal: %+v (%v)", size, err)
	}
	e.must("start", "c1")
	if _, err := master.WriteString("hello\n"); err != nil {
		t.Fatal(err)
	}
	if status := reap(t, readPID(t, pidFile)); status.ExitStatus() != 4 {
		t.Errorf("exit status %d, want 4", status.ExitStatus())
	}
	var printed strings.Builder
	for buffer := make([]byte, 1000); ; {
		n, err := master.Read(buffer)
		printed.Write(buffer[:n])
		if err != nil {
			break // EIO: nobody has the other end any more
		}
	}
	if text := printed.String(); !strings.Contains(text, "/dev/pts/0") || !strings.Contains(text, "got hello") {
		t.Errorf("printed %q", text)
	}
	e.must("delete", "c1")
}

func acceptTerminal(t *testing.T, listener *net.UnixListener) *os.File {
	t.Helper()
	if err := listener.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	conn, err := listener.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 4096), oob)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d messages: %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("descriptors %v: %v", fds, err)
	}
	master := os.NewFile(uintptr(fds[0]), "terminal")
	t.Cleanup(func() { master.Close() })
	return master
}

// TestHooks has libcontainer call programs, each with the state on its standard input.
func TestHooks(t *testing.T) {
	e := newEngine(t)
	dir := t.TempDir()
	hook := func(name string) []specs.Hook {
		return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "cat >$0/$1; echo $1 >>$0/order", dir, name}, Env: []string{"PATH=/bin:/usr/bin"}}}
	}
	bundle := newBundle(t, "until [ -e /tmp/go ]; do sleep 0.1; done", func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{CreateRuntime: hook("createRuntime"), Poststart: hook("poststart"), Poststop: hook("poststop")}
	})
	e.must("create", "--bundle", bundle, "c1")
	if order, _ := os.ReadFile(filepath.Join(dir, "order")); string(order) != "createRuntime\n" {
		t.Errorf("hooks of the creation: %q", order)
	}
	pid := e.state("c1").PID
	e.must("start", "c1")
	if err := os.WriteFile(filepath.Join(bundle, "rootfs/tmp/go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	reap(t, pid)
	e.must("delete", "c1")
	order, err := os.ReadFile(filepath.Join(dir, "order"))
	if err != nil || string(order) != "createRuntime\npoststart\npoststop\n" {
		t.Errorf("order of the hooks: %q (%v)", order, err)
	}
	for name, status := range map[string]specs.ContainerState{"createRuntime": "creating", "poststart": "running", "poststop": "stopped"} {
		var s specs.State
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = json.Unmarshal(data, &s)
		}
		if err != nil || s.ID != "c1" || s.Bundle != bundle || s.Status != status {
			t.Errorf("%s was told %+v (%v)", name, s, err)
		}
	}
	failing := []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo not today >&2; exit 1"}}}
	bundle = newBundle(t, "exit 0", func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{Poststop: append(slices.Clone(failing), hook("last")...)}
	})
	e.must("run", "--bundle", bundle, "c1")
	if _, err := os.Stat(filepath.Join(dir, "last")); err != nil {
		t.Errorf("the hook after a poststop hook that failed: %v", err)
	}
	for name, hooks := range map[string]*specs.Hooks{"createRuntime": {CreateRuntime: failing}, "poststart": {Poststart: failing}} {
		bundle := newBundle(t, "while :; do sleep 1; done", func(s *specs.Spec) { s.Hooks = hooks })
		if o := e.call("run", "--bundle", bundle, "c1"); o.code != 1 || !strings.Contains(o.stderr, "not today") || !strings.Contains(o.stderr, name) {
			t.Errorf("a %s hook that fails: %+v", name, o)
		}
	}
}

// TestList shows containers to people and to programs.
func TestList(t *testing.T) {
	e := newEngine(t)
	if out := e.must("list", "--format", "json"); out != "[]\n" {
		t.Errorf("no containers: %q", out)
	}
	bundle := newBundle(t, "exit 0", nil)
	e.must("create", "-b", bundle, "a.1")
	e.must("create", "-b", bundle, "b.2")
	var list []oci.State
	if err := json.Unmarshal([]byte(e.must("list", "-f", "json")), &list); err != nil || len(list) != 2 || list[0].ID != "a.1" || list[0].Owner == "" {
		t.Errorf("list: %+v (%v)", list, err)
	}
	if out := e.must("list", "-q"); out != "a.1\nb.2\n" {
		t.Errorf("list -q: %q", out)
	}
	table := e.must("list")
	if !strings.HasPrefix(table, "ID") || !strings.Contains(table, bundle) || !strings.Contains(table, strconv.Itoa(list[1].PID)) {
		t.Errorf("list: %s", table)
	}
	e.must("delete", "a.1")
	e.must("delete", "b.2")
}

// TestPS shows the lines of the container's processes among those of the host's ps.
func TestPS(t *testing.T) {
	e := newEngine(t)
	bin := t.TempDir()
	script := "#!/bin/sh\necho \"UID PID $*\"\nfor p in /proc/[0-9]*; do echo \"7 ${p#/proc/} x\"; done\n"
	if err := os.WriteFile(filepath.Join(bin, "ps"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	e.must("create", "-b", newBundle(t, "exit 0", nil), "c1")
	pid := strconv.Itoa(e.state("c1").PID)
	for options, title := range map[string]string{"": "-ef", "-o pid": "-o pid"} {
		if out := e.must(append([]string{"ps", "c1"}, strings.Fields(options)...)...); out != "UID PID "+title+"\n7 "+pid+" x\n" {
			t.Errorf("ps %s: %q, want process %s", options, out, pid)
		}
	}
	if out := e.must("ps", "c1", "--format", "json"); out != "["+pid+"]\n" {
		t.Errorf("ps --format json: %q, want %s", out, pid)
	}
	e.must("delete", "c1")
}
