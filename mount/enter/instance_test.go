package enter_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/enter"
)

// detached is a script that runs in the background under an init of its own.
type detached struct {
	out  *bufio.Reader
	init int
	lock string
}

// detach starts a script, whose first line of output is the id of its own process outside.
func detach(t *testing.T, script string) *detached {
	t.Helper()
	d := &detached{lock: filepath.Join(t.TempDir(), "lock")}
	lock, err := os.OpenFile(d.lock, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	read, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdin, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { read.Close(); write.Close() })
	// The shell's first word is the id that the machine knows it by: /proc is the machine's.
	cmd := program(t, "sh", &enter.Plan{New: enter.PID, Detach: true, Keep: 3}, "background", "set -- $(cat /proc/self/stat); echo $4; read go\n"+script)
	cmd.Stdin, cmd.Stdout, cmd.ExtraFiles = stdin, stdout, []*os.File{lock}
	err = cmd.Run()
	stdin.Close()
	stdout.Close()
	if err != nil {
		t.Fatalf("the process that was started: %v", err)
	}
	d.out = bufio.NewReader(read)
	shell, err := strconv.Atoi(strings.TrimSpace(readLine(t, d.out)))
	if err != nil {
		t.Fatal(err)
	}
	d.init = parentOf(t, shell) // the shell waits meanwhile
	fd, err := unix.PidfdOpen(d.init, 0)
	if err != nil {
		t.Fatalf("the init is gone: %v", err)
	}
	t.Cleanup(func() {
		unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		unix.Close(fd)
	})
	if _, err := io.WriteString(write, "go\n"); err != nil {
		t.Fatal(err)
	}
	return d
}

func parentOf(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "PPid:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(rest))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("process %d has no parent", pid)
	return 0
}

// alive reports whether the init holds its lock.
func (d *detached) alive(t *testing.T) bool {
	t.Helper()
	f, err := os.Open(d.lock)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
		t.Fatal(err)
	}
	return err != nil
}

func (d *detached) mustEnd(t *testing.T) {
	t.Helper()
	if !eventually(func() bool { return !d.alive(t) }) {
		t.Error("the init goes on")
	}
}

func eventually(ok func() bool) bool {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return false
}

func TestDetached(t *testing.T) {
	runtimeDir(t)
	needNamespaces(t)
	for _, tt := range []struct {
		name, script string
		signal       unix.Signal // to the init, after the script said that it is ready
		lives        bool        // the init waits to be told
		says         string
	}{
		{name: "processes", script: "echo $PPID $$; exit 1", says: "1 2"},
		{name: "ends with an error", script: "sleep 1000 >/dev/null & exit 3"},
		{name: "ends by a signal", script: "kill -9 $$"},
		{name: "a signal is passed on", script: "trap 'echo told; exit 5' TERM\necho ready\nwhile :; do sleep 1 >/dev/null & wait $!; done", signal: unix.SIGTERM, says: "told"},
		{name: "a signal goes to the group", script: "sleep 1000 >/dev/null & trap : INT; echo ready; wait; wait; exit 4", signal: unix.SIGTERM},
		{name: "services stay", script: "sleep 1000 >/dev/null & echo ready; exit 0", signal: unix.SIGTERM, lives: true},
		{name: "nothing to do", script: "echo ready", signal: unix.SIGINT, lives: true},
		{name: "killed", script: "echo ready; cat", signal: unix.SIGKILL, lives: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := detach(t, tt.script)
			if tt.signal != 0 {
				if got := readLine(t, d.out); got != "ready\n" {
					t.Fatalf("the script says %q", got)
				}
				if tt.lives && !d.alive(t) {
					t.Error("the init did not wait")
				}
				if err := unix.Kill(d.init, tt.signal); err != nil {
					t.Fatal(err)
				}
			}
			if tt.says != "" {
				if got := readLine(t, d.out); got != tt.says+"\n" {
					t.Errorf("the script says %q, want %q", got, tt.says)
				}
			}
			d.mustEnd(t)
		})
	}
}

// TestDetachedIsAlone: the init holds nothing that the caller had open, and the pipe ends with the program.
func TestDetachedIsAlone(t *testing.T) {
	runtimeDir(t)
	needNamespaces(t)
	d := detach(t, "echo ready; exit 0")
	readLine(t, d.out)
	if rest, err := io.ReadAll(d.out); err != nil || len(rest) != 0 {
		t.Errorf("after the script's end the pipe has %q, %v", rest, err)
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.init))
	if err != nil || len(files) != 1 || files[0].Name() != "3" {
		t.Errorf("the init has open %v, %v", files, err)
	}
	if wd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", d.init)); wd != "/" {
		t.Errorf("the init is in %q, %v", wd, err)
	}
}

// TestLinger: the init stays for as long as anybody is in its namespace.
func TestLinger(t *testing.T) {
	runtimeDir(t)
	needNamespaces(t)
	first := program(t, "sh", &enter.Plan{New: enter.PID, Init: true, Linger: true}, "first", "echo ready; read x; exit 6")
	firstIn, err := first.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := start(t, first)
	readLine(t, out)
	init := firstChildOf(t, first.Process.Pid)
	gone, err := unix.PidfdOpen(init, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.PidfdSendSignal(gone, unix.SIGKILL, nil, 0)
		unix.Close(gone)
	})

	second := program(t, "sh", &enter.Plan{Process: init}, "second", "echo $$; read x; exit 7")
	secondIn, err := second.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out = start(t, second)
	if pid := strings.TrimSpace(readLine(t, out)); pid == "1" || len(pid) > 2 {
		t.Errorf("the second one's process id inside is %s", pid)
	}
	firstIn.Close()
	if err := first.Wait(); first.ProcessState.ExitCode() != 6 {
		t.Errorf("the first ends with %v", err)
	}
	if err := unix.PidfdSendSignal(gone, 0, nil, 0); err != nil {
		t.Errorf("the init ended with the first: %v", err)
	}
	secondIn.Close()
	if err := second.Wait(); second.ProcessState.ExitCode() != 7 {
		t.Errorf("the second ends with %v", err)
	}
	poll := []unix.PollFd{{Fd: int32(gone), Events: unix.POLLIN}}
	if n, err := unix.Poll(poll, 60_000); n != 1 {
		t.Errorf("the init goes on without anybody: %v", err)
	}
}

// TestEnteredDiesWithParent: who has entered a PID namespace ends when the process that the batch system knows is killed.
func TestEnteredDiesWithParent(t *testing.T) {
	runtimeDir(t)
	needNamespaces(t)
	d := detach(t, "echo ready; exit 0")
	readLine(t, d.out)
	cmd := program(t, "sh", &enter.Plan{Process: d.init}, "entered", "echo ready; exec sleep 1000")
	out := start(t, cmd)
	readLine(t, out)
	cmd.Process.Kill()
	if rest, err := io.ReadAll(out); len(rest) != 0 {
		t.Errorf("the pipe has %q, %v", rest, err)
	}
}

// firstChildOf returns the oldest child of a process, the init.
func firstChildOf(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Skip(err)
	}
	for word := range strings.FieldsSeq(string(b)) {
		n, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	t.Fatalf("process %d has no children", pid)
	return 0
}
