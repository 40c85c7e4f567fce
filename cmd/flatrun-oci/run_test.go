package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestRun passes streams and exit statuses through.
func TestRun(t *testing.T) {
	e := newEngine(t)
	ids := fmt.Sprintf("0 %d 1", os.Getuid())
	for _, tt := range []struct {
		name, script   string
		edit           func(*specs.Spec)
		stdin          string
		stdout, stderr string // parts
		code           int
	}{
		{name: "status", script: "exit 7", code: 7},
		{name: "streams", script: "cat; echo complaint >&2", stdin: "words", stdout: "words", stderr: "complaint"},
		{name: "signal", script: "sh -c 'kill -9 $$'; exit $?", code: 137},
		{name: "killed", edit: func(s *specs.Spec) { sharing(s, specs.PIDNamespace) }, script: "kill -9 $$", code: 137},
		{name: "identity", script: "echo $(cat /proc/self/uid_map) $(id -u)", stdout: ids + " 0"},
		{name: "first process", script: "echo $$", stdout: "1\n"},
		{name: "newer version", script: "exit 0", edit: func(s *specs.Spec) { s.Version = "1.9.0-dev" }},
		{name: "host's namespaces", script: "ls /proc/self >/dev/null && ls /sys/class >/dev/null", edit: func(s *specs.Spec) {
			s.Hostname = ""
			sharing(s, specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace)
		}},
		{name: "time namespace", script: "cat /proc/self/timens_offsets", stdout: "100000", edit: func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
			s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 100000}}
		}},
		{name: "own mapping", script: "cat /proc/self/uid_map", stdout: "0", edit: func(s *specs.Spec) {
			s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(os.Getuid()), Size: 1}}
			s.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(os.Getgid()), Size: 1}}
		}},
		{name: "read-only root", script: "mkdir /x", code: 1, stderr: "Read-only"},
		{name: "no such program", edit: func(s *specs.Spec) { s.Process.Args = []string{"nothing"} }, code: 1, stderr: "nothing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := e.command("run", "--bundle", newBundle(t, tt.script, tt.edit), "c1")
			cmd.Stdin = strings.NewReader(tt.stdin)
			o := e.finish(cmd)
			if o.code != tt.code || !strings.Contains(strings.Join(strings.Fields(o.stdout), " ")+"\n", strings.TrimSpace(tt.stdout)) || !strings.Contains(o.stderr, tt.stderr) {
				t.Errorf("%+v, want %d, %q, %q", o, tt.code, tt.stdout, tt.stderr)
			}
		})
	}
}

// TestForwarding sends the runtime a signal that the container's process is to get.
func TestForwarding(t *testing.T) {
	e := newEngine(t)
	cmd := e.command("run", "--bundle", newBundle(t, "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done", nil), "c1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Errorf("printed %q (%v)", line, err)
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 9 {
		t.Errorf("exit %d, want the trap's 9", code)
	}
}

// TestDetach runs a container in the background and leaves its state until it is deleted.
func TestDetach(t *testing.T) {
	e := newEngine(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	e.must("run", "--detach", "--pid-file", pidFile, "--bundle", newBundle(t, "exit 6", nil), "c1")
	if status := reap(t, readPID(t, pidFile)); status.ExitStatus() != 6 {
		t.Errorf("exit status %d, want 6", status.ExitStatus())
	}
	if s := e.state("c1"); s.Status != "stopped" {
		t.Errorf("state %s", s.Status)
	}
	e.must("delete", "c1")
	e.must("run", "--keep", "--bundle", newBundle(t, "exit 0", nil), "c1")
	if s := e.state("c1"); s.Status != "stopped" {
		t.Errorf("state %s after run --keep", s.Status)
	}
	e.must("delete", "c1")
	o := e.call("run", "--pid-file", "/nonexistent/pid", "--bundle", newBundle(t, "while :; do sleep 1; done", nil), "c1")
	if o.code != 1 || !strings.Contains(o.stderr, "pid file") {
		t.Errorf("a pid file that cannot be written: %+v", o)
	}
}

// TestSharedPID ends all processes of a container that has neither a PID namespace nor a control group.
func TestSharedPID(t *testing.T) {
	e := newEngine(t)
	shared := func(s *specs.Spec) { sharing(s, specs.PIDNamespace) }
	pids := filepath.Join(t.TempDir(), "pids")
	o := e.call("run", "--bundle", newBundle(t, "sleep 1000 & echo $!; sleep 1000 & echo $!", shared), "c1")
	if o.code != 0 {
		t.Fatalf("run: %+v", o)
	}
	for pid := range strings.FieldsSeq(o.stdout) {
		if _, err := os.Stat("/proc/" + pid); err == nil {
			t.Errorf("process %s outlived its container", pid)
		}
	}
	e.must("run", "--detach", "--pid-file", pids, "--bundle", newBundle(t, "sleep 1000 & while :; do sleep 1; done", shared), "c1")
	e.must("kill", "--all", "c1", "KILL")
	if status := reap(t, readPID(t, pids)); status.Signal() != unix.SIGKILL {
		t.Errorf("ended with %v", status)
	}
	e.must("delete", "c1")
}

// TestExec runs further processes in a container.
func TestExec(t *testing.T) {
	e := newEngine(t)
	e.must("run", "--detach", "--bundle", newBundle(t, "while :; do sleep 1; done", nil), "c1")
	pid := e.state("c1").PID
	for _, tt := range []struct {
		name   string
		args   []string
		stdout string
		stderr string
		code   int
	}{
		{name: "status", args: []string{"c1", "sh", "-c", "exit 3"}, code: 3},
		{name: "flags of the command", args: []string{"c1", "echo", "-n", "--user"}, stdout: "--user"},
		{name: "environment", args: []string{"--env", "A=1", "-e", "B=2 3", "c1", "sh", "-c", "echo $A $B $TERM"}, stdout: "1 2 3 xterm"},
		{name: "directory", args: []string{"--cwd", "/tmp", "c1", "pwd"}, stdout: "/tmp"},
		{name: "user", args: []string{"--user", "0:0", "c1", "id", "-u"}, stdout: "0"},
		{name: "bad user", args: []string{"--user", "root", "c1", "id"}, code: 255, stderr: "UID:GID"},
		{name: "unmapped user", args: []string{"--user", "77", "c1", "id"}, code: 255, stderr: "77"},
		{name: "capabilities", args: []string{"--cap", "CAP_SYS_CHROOT", "c1", "cat", "/proc/self/status"}, stdout: "CapEff:\t0000000020040420"},
		{name: "no such program", args: []string{"c1", "nothing"}, code: 255, stderr: "nothing"},
		{name: "no command", args: []string{"c1"}, code: 255, stderr: "args is empty"},
		{name: "no container", args: []string{"c2", "id"}, code: 255, stderr: "does not exist"},
		{name: "terminal", args: []string{"--tty", "c1", "sh", "-c", "tty; exit 2"}, stdout: "/dev/pts/", code: 2},
		{name: "process file", args: []string{"--process", "/nonexistent", "c1"}, code: 255, stderr: "/nonexistent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := e.call(append([]string{"exec"}, tt.args...)...)
			if o.code != tt.code || !strings.Contains(o.stdout, tt.stdout) || !strings.Contains(o.stderr, tt.stderr) {
				t.Errorf("%+v, want %d, %q, %q", o, tt.code, tt.stdout, tt.stderr)
			}
		})
	}
	e.must("kill", "c1", "SIGKILL")
	reap(t, pid)
	if o := e.call("exec", "c1", "id"); o.code != 255 || !strings.Contains(o.stderr, "is stopped") {
		t.Errorf("exec after the end: %+v", o)
	}
	e.must("delete", "c1")
}

// TestSeccomp enforces a bundle's filter, or refuses the bundle where the program was built without.
func TestSeccomp(t *testing.T) {
	e := newEngine(t)
	errno := uint(unix.EXDEV)
	o := e.call("run", "--bundle", newBundle(t, "mkdir /tmp/x", func(s *specs.Spec) {
		s.Root.Readonly = false
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno, ErrnoRet: &errno}}}
	}), "c1")
	want := "built without libseccomp"
	if seccomp.Enabled {
		want = unix.EXDEV.Error()
	}
	if o.code != 1 || !strings.Contains(strings.ToLower(o.stderr), want) {
		t.Errorf("%+v, want %q", o, want)
	}
}

// TestControlGroups says what is missing where an ordinary user has no control group.
func TestControlGroups(t *testing.T) {
	e := newEngine(t)
	e.must("run", "--detach", "--bundle", newBundle(t, "while :; do sleep 1; done", nil), "c1")
	for _, args := range [][]string{{"pause", "c1"}, {"resume", "c1"}, {"events", "--stats", "c1"}, {"update", "--memory", "64m", "c1"}} {
		// A control group may have been delegated to this user; then it works.
		if o := e.call(args...); o.code != 0 && !strings.Contains(o.stderr, "no control group") && args[0] != "resume" {
			t.Errorf("%v: %+v", args, o)
		}
	}
	e.must("delete", "--force", "c1")
	limit := int64(-7)
	o := e.call("run", "--bundle", newBundle(t, "exit 0", func(s *specs.Spec) {
		s.Linux.CgroupsPath = "/nobody/may/make/this"
		s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
	}), "c1")
	if o.code != 1 {
		t.Errorf("limits that cannot be set: %+v", o)
	}
}
