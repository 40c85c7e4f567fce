package enter_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/flatrun/flatrun/mount/enter"
)

func TestPlans(t *testing.T) {
	runtimeDir(t)
	needNamespaces(t)
	uid := os.Getuid()
	self := fmt.Sprintf("%d %d 1", uid, uid)
	fake := fmt.Sprintf("0 %d 1", uid)
	tests := []struct {
		name   string
		plan   enter.Plan
		image  string // a directory gives the constructor a namespace before the plan is known
		inside int
		uidMap string
		pid    int // 0: any
	}{
		{"own from nothing", enter.Plan{}, "image-name", uid, self, 0},
		{"own already", enter.Plan{}, "/", uid, self, 0},
		{"fakeroot from nothing", enter.Plan{Fakeroot: true}, "image-name", 0, fake, 0},
		{"fakeroot below own", enter.Plan{Fakeroot: true}, "/", 0, fake, 0},
		{"pid with init", enter.Plan{New: enter.PID, Init: true}, "image-name", uid, self, 2},
		{"pid without init", enter.Plan{New: enter.PID}, "image-name", uid, self, 1},
		{"pid below own", enter.Plan{New: enter.PID, Init: true}, "/", uid, self, 2},
		{"everything", enter.Plan{New: enter.PID | enter.IPC | enter.UTS | enter.Net | enter.Cgroup, Init: true, Fakeroot: true}, "/", 0, fake, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := reportOf(t, program(t, "report", &tt.plan, "exec", tt.image, "true"))
			if r.Kind != enter.Own || r.Err != "" || r.New != tt.plan.New || r.UID != uid || r.Inside != tt.inside || r.UIDMap != tt.uidMap {
				t.Errorf("%+v", r)
			}
			if tt.pid != 0 && r.PID != tt.pid {
				t.Errorf("process id %d, want %d", r.PID, tt.pid)
			}
			if r.Variable || strings.Trim(r.Inherited, "0 ") != "" {
				t.Errorf("the command would inherit FLATRUN_ENTER (%v) or capabilities (%s)", r.Variable, r.Inherited)
			}
			if !r.CanMount {
				t.Error("cannot mount")
			}
		})
	}
}

func TestSubordinateIDs(t *testing.T) {
	runtimeDir(t)
	needNamespaces(t)
	uids, gids, err := enter.SubIDs()
	if err != nil {
		t.Skip(err)
	}
	plan := enter.Plan{Fakeroot: true, UIDs: uids, GIDs: gids}
	r := reportOf(t, program(t, "report", &plan, "exec", "image-name", "true"))
	var want []string
	for _, m := range uids {
		want = append(want, fmt.Sprint(m.Inside, m.Outside, m.Count))
	}
	if r.Inside != 0 || r.UIDMap != strings.Join(want, " ") || len(strings.Fields(r.GIDMap)) != 3*len(gids) {
		t.Errorf("%+v, want uids %v", r, want)
	}
	plan.UIDs[1].Outside = 1 // not ours
	out, err := program(t, "report", &plan, "exec", "image-name", "true").Output()
	if err == nil {
		t.Errorf("others' ids were mapped: %s", out)
	}
}

func TestLoopbackIsUp(t *testing.T) {
	runtimeDir(t)
	needNamespaces(t)
	cmd := program(t, "sh", &enter.Plan{New: enter.Net}, "exec", "/", "cat /sys/class/net/lo/flags /proc/net/dev")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	interfaces := strings.Count(string(out), ":")
	if all, err := net.Interfaces(); err == nil && len(all) == 1 {
		t.Skip("the host has only the loopback interface as well")
	}
	if interfaces != 1 {
		t.Errorf("a new network namespace shows %d interfaces:\n%s", interfaces, out)
	}
	plan := &enter.Plan{New: enter.Net}
	up := program(t, "sh", plan, "exec", "/", "grep -c 7f000001 /proc/net/fib_trie || grep -q 127.0.0.1 /proc/net/fib_trie")
	if out, err := up.Output(); err != nil {
		t.Errorf("127.0.0.1 has no route: %v %s", err, out)
	}
}

func TestEnterProcess(t *testing.T) {
	runtimeDir(t)
	needNamespaces(t)
	cmd := program(t, "sh", &enter.Plan{New: enter.PID | enter.UTS}, "exec", "/", "readlink /proc/self/ns/uts; read wait")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := start(t, cmd)
	uts := readLine(t, out)
	inside := childOf(t, cmd.Process.Pid)
	plan := &enter.Plan{Process: inside}
	joined := program(t, "sh", plan, "exec", "instance://x", "readlink /proc/self/ns/uts; echo $$")
	got, err := joined.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(got))
	if len(lines) != 2 || lines[0] != strings.TrimSpace(uts) {
		t.Errorf("in namespace %q, want %q", lines, uts)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		if _, exited := err.(*exec.ExitError); !exited {
			t.Error(err)
		}
	}
}

func TestPlanFails(t *testing.T) {
	runtimeDir(t)
	needNamespaces(t)
	cmd := program(t, "report", &enter.Plan{Process: 1 << 22}, "exec", "instance://x", "true")
	cmd.Stderr = nil
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "find the instance's process: no such process") {
		t.Errorf("%v: %s", err, out)
	}
}
