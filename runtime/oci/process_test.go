package oci

import (
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestNewProcess(t *testing.T) {
	p, err := newProcess(&specs.Process{
		Args: []string{"a", "b"}, Env: []string{"K=V"}, Cwd: "/w", NoNewPrivileges: true, ApparmorProfile: "profile",
		User:         specs.User{UID: 3, GID: 4, AdditionalGids: []uint32{5, 6}},
		ConsoleSize:  &specs.Box{Width: 80, Height: 25},
		Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL"}, Ambient: []string{"CAP_CHOWN"}},
		Rlimits:      []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Hard: 7}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(p.Args, []string{"a", "b"}) || p.Cwd != "/w" || p.UID != 3 || p.GID != 4 || !reflect.DeepEqual(p.AdditionalGroups, []int{5, 6}) || !*p.NoNewPrivileges || p.AppArmorProfile != "profile" {
		t.Errorf("process %+v", p)
	}
	if p.ConsoleWidth != 80 || p.ConsoleHeight != 25 || p.Capabilities.Bounding[0] != "CAP_KILL" || p.Capabilities.Ambient[0] != "CAP_CHOWN" || p.Rlimits[0].Type != unix.RLIMIT_CORE {
		t.Errorf("process %+v", p)
	}
	for name, broken := range map[string]*specs.Process{
		"limit":    {Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_LUCK"}}},
		"affinity": {ExecCPUAffinity: &specs.CPUAffinity{Initial: "zero"}},
	} {
		if _, err := newProcess(broken); err == nil {
			t.Errorf("broken %s: no error", name)
		}
	}
}

func TestPreserved(t *testing.T) {
	if files, err := preserved(0); err != nil || len(files) != 0 {
		t.Errorf("none: %v, %v", files, err)
	}
	if _, err := preserved(1 << 16); err == nil || !strings.Contains(err.Error(), "is not open") {
		t.Errorf("more than are open: %v", err)
	}
}

// TestWritePID checks that the file is whole, and that a failure leaves nothing behind.
func TestWritePID(t *testing.T) {
	dir := t.TempDir()
	o := IO{PIDFile: filepath.Join(dir, "pid")}
	if err := o.writePID(&libcontainer.Process{}); err == nil {
		t.Error("a process that was not started: no error")
	}
	if err := (&IO{}).writePID(&libcontainer.Process{}); err != nil {
		t.Errorf("no file wanted: %v", err)
	}
	for _, text := range []string{"17", "18"} { // new, then over an old one
		pid, _ := strconv.Atoi(text)
		if err := writePIDFile(o.PIDFile, pid); err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(o.PIDFile); err != nil || string(data) != text {
			t.Errorf("%q (%v), want %s", data, err, text)
		}
	}
	if info, err := os.Stat(o.PIDFile); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v (%v), want mode 0644", info, err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "taken/x"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{filepath.Join(dir, "taken"), "/nonexistent/pid"} {
		if err := writePIDFile(file, 1); err == nil || !strings.Contains(err.Error(), "pid file") {
			t.Errorf("%s: %v", file, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".pid-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestReceive reads a descriptor from a socket, and survives a peer that sends none.
func TestReceive(t *testing.T) {
	for _, tt := range []struct {
		name string
		oob  []byte
		ok   bool
	}{
		{"one", unix.UnixRights(0), true}, {"two", unix.UnixRights(0, 0), false}, {"none", nil, false},
	} {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		near, far := os.NewFile(uintptr(fds[0]), "near"), os.NewFile(uintptr(fds[1]), "far")
		if err := unix.Sendmsg(int(far.Fd()), []byte("/dev/pts/0"), tt.oob, nil, 0); err != nil {
			t.Fatal(err)
		}
		fd, err := receive(near)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err == nil {
			unix.Close(fd)
		}
		far.Close()
		near.Close()
	}
}

// TestNoTerminal asks nothing of a process without one.
func TestNoTerminal(t *testing.T) {
	p := &libcontainer.Process{}
	term, err := (&IO{}).connect(p, false)
	if err != nil || p.Stdin != os.Stdin || p.Stdout != os.Stdout || p.Stderr != os.Stderr {
		t.Errorf("streams of the caller: %v", err)
	}
	term.resize()
	if err := term.started(); err != nil {
		t.Error(err)
	}
	term.close()
	if _, err := (&IO{ConsoleSocket: "/nonexistent"}).connect(p, true); err == nil || !strings.Contains(err.Error(), "console socket") {
		t.Errorf("a socket that is not there: %v", err)
	}
}
