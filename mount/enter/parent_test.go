package enter_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/enter"
)

var withInit = &enter.Plan{New: enter.PID, Init: true}

// start starts cmd with its output on a pipe, and ends it with the test.
func start(t *testing.T, cmd *exec.Cmd) *bufio.Reader {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return bufio.NewReader(out)
}

func readLine(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("read a line: %v (got %q)", err, line)
	}
	return line
}

// childOf returns the newest child of a process: the program, when an init was made before it.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Skip(err)
	}
	words := strings.Fields(string(b))
	if len(words) == 0 {
		t.Fatalf("process %d has no children", pid)
	}
	child, err := strconv.Atoi(words[len(words)-1])
	if err != nil {
		t.Fatal(err)
	}
	return child
}

func TestParentEndsLikeChild(t *testing.T) {
	runtimeDir(t)
	needNamespaces(t)
	for _, plan := range []*enter.Plan{withInit, {New: enter.PID}} {
		for script, want := range map[string]syscall.WaitStatus{
			"exit 0": 0, "exit 7": 7 << 8, "exit 255": 255 << 8,
			"sh -c 'exit 3'; exit $?": 3 << 8,
			"sleep 1000 & exit 5":     5 << 8, // what is left in the background ends with the namespace
		} {
			checkStatus(t, plan, script, want)
		}
	}
	// With an init, a signal is a status.
	checkStatus(t, withInit, "kill -TERM $$", (128+syscall.WaitStatus(unix.SIGTERM))<<8)
	checkStatus(t, withInit, "kill -KILL $$", (128+syscall.WaitStatus(unix.SIGKILL))<<8)
	checkStatus(t, withInit, "kill -SEGV $$", (128+syscall.WaitStatus(unix.SIGSEGV))<<8)
}

func checkStatus(t *testing.T, plan *enter.Plan, script string, want syscall.WaitStatus) {
	t.Helper()
	cmd := program(t, "sh", plan, "exec", "/", script)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.Sys().(syscall.WaitStatus); got&^0x80 != want {
		t.Errorf("init %v, %q: status %#x, want %#x", plan.Init, script, got, want)
	}
}

// A caller that ignores SIGCHLD, as some daemons do, gets the status all the same.
func TestParentWithIgnoredChild(t *testing.T) {
	runtimeDir(t)
	needNamespaces(t)
	cmd := program(t, "sh", withInit, "exec", "/", "exit 7")
	cmd.Args = append([]string{"sh", "-c", `trap "" CHLD; exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("%v, want exit code 7", err)
	}
}

func TestParentPassesSignals(t *testing.T) {
	runtimeDir(t)
	needNamespaces(t)
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGUSR1} {
		script := fmt.Sprintf(`trap "exit 9" %d; echo ready; sleep 1000 & wait $!`, int(sig))
		cmd := program(t, "sh", withInit, "exec", "/", script)
		out := start(t, cmd)
		readLine(t, out)
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 9 {
			t.Errorf("%v: exit code %d, want 9", sig, code)
		}
	}
}

// A stop of the program must show to the caller's shell, and its SIGCONT must reach the program.
func TestParentStopsWithChild(t *testing.T) {
	runtimeDir(t)
	needNamespaces(t)
	cmd := program(t, "sh", withInit, "exec", "/", "echo ready; kill -STOP $$; echo again; exit 4")
	out := start(t, cmd)
	readLine(t, out)
	pid := cmd.Process.Pid
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, unix.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("wait: %v, status %#x, want a stop", err, status)
	}
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if line := readLine(t, out); line != "again\n" {
		t.Errorf("read %q", line)
	}
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil || status.ExitStatus() != 4 {
		t.Errorf("wait: %v, status %#x, want exit 4", err, status)
	}
}

// Killing the parent leaves nobody: the pipe that every process of the container holds comes to its end.
func TestParentKilled(t *testing.T) {
	runtimeDir(t)
	needNamespaces(t)
	for _, plan := range []*enter.Plan{withInit, {New: enter.PID}} {
		cmd := program(t, "sh", plan, "exec", "/", "sleep 1000 & echo ready; wait")
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout = w
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if line := readLine(t, bufio.NewReader(r)); line != "ready\n" {
			t.Errorf("read %q", line)
		}
		cmd.Process.Kill()
		cmd.Wait()
		r.SetReadDeadline(time.Now().Add(30 * time.Second))
		if rest, err := io.ReadAll(r); err != nil {
			t.Errorf("init %v: processes are left: %v %q", plan.Init, err, rest)
		}
		r.Close()
	}
}

// A pipe that the program closes is closed: neither parent nor init keeps it.
func TestParentHoldsNoPipe(t *testing.T) {
	runtimeDir(t)
	needNamespaces(t)
	cmd := program(t, "sh", withInit, "exec", "/", "exec 3>&-; echo closed; read wait")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{w}
	out := start(t, cmd)
	w.Close()
	readLine(t, out)
	r.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read: %v, want EOF", err)
	}
	in.Close()
	cmd.Wait()
}
