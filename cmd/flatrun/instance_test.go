package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/runtime/image"
	"github.com/flatrun/flatrun/runtime/instance"
)

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]unix.Signal{
		"": unix.SIGINT, "TERM": unix.SIGTERM, "SIGTERM": unix.SIGTERM, "term": unix.SIGTERM, "sigkill": unix.SIGKILL,
		"15": unix.SIGTERM, "9": unix.SIGKILL, "64": 64, "USR1": unix.SIGUSR1,
	} {
		if got, err := parseSignal(text); got != want || err != nil {
			t.Errorf("parseSignal(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"0", "-1", "65", "NOSUCH", "SIG", "TERM ", "9x"} {
		if got, err := parseSignal(text); err == nil {
			t.Errorf("parseSignal(%q) = %v", text, got)
		}
	}
}

func TestBinary(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0B", 1023: "1023B", 1024: "1.00KiB", 1536: "1.50KiB", 1 << 20: "1.00MiB", 5 << 30: "5.00GiB", 3 << 40: "3.00TiB", 2048 << 40: "2048.00TiB",
	} {
		if got := binary(n); got != want {
			t.Errorf("binary(%d) = %s, want %s", n, got, want)
		}
	}
}

// TestMeasure looks at this process as if it were an instance.
func TestMeasure(t *testing.T) {
	u := measure(instance.State{Name: "self", PID: os.Getpid()})
	if u.PIDs < 1 || u.Memory == 0 || u.Limit < u.Memory/int64(u.PIDs) {
		t.Errorf("this PID namespace uses %+v", u)
	}
	if u := measure(instance.State{PID: 1 << 30}); u.PIDs != 0 || u.Memory != 0 {
		t.Errorf("nobody uses %+v", u)
	}
	states := []instance.State{{Name: "self", PID: os.Getpid()}}
	before := []usage{{PID: os.Getpid(), taken: time.Now().Add(-time.Second)}}
	if list := measureAll(states, before); list[0].CPU < 0 || list[0].taken.IsZero() {
		t.Errorf("since then: %+v", list[0])
	}
}

func TestStopAll(t *testing.T) {
	p, _, stderr := testProgram("flatrun")
	log := filepath.Join(t.TempDir(), "none")
	states := []instance.State{{Name: "gone", PID: 1 << 30}}
	ends := make(chan error, 2)
	for i, script := range []string{"exec sleep 1000", "trap '' INT; exec sleep 1000"} {
		cmd := exec.Command("/bin/sh", "-c", script)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill() })
		waitForCommand(t, cmd.Process.Pid, "sleep")
		go func() { ends <- cmd.Wait() }()
		states = append(states, instance.State{Name: "i" + strconv.Itoa(i), PID: cmd.Process.Pid, LogOut: log, LogErr: log})
	}
	if err := p.stopAll(states, unix.SIGINT, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-ends; err == nil {
			t.Error("a process ended by itself")
		}
	}
	if text := stderr.String(); strings.Count(text, "Stopping") != 2 || !strings.Contains(text, "Killing i1 instance") {
		t.Errorf("messages are\n%s", text)
	}
}

// waitForCommand waits for a shell to have become the command.
func waitForCommand(t *testing.T, pid int, command string) {
	t.Helper()
	file := filepath.Join("/proc", strconv.Itoa(pid), "comm")
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if name, _ := os.ReadFile(file); string(name) == command+"\n" {
			return
		}
	}
	t.Fatalf("process %d did not become %s", pid, command)
}

// TestShareKey: who shares a container, and who does not.
func TestShareKey(t *testing.T) {
	key := func(arg string, o options, environ ...string) string {
		p, _, _ := testProgram("flatrun", environ...)
		c := &container{program: p, options: &o, arg: arg, kind: image.Directory}
		return c.shareKey()
	}
	slurm := []string{"SLURM_JOB_ID=1", "SLURM_STEP_ID=2"}
	base := key("/image", options{}, slurm...)
	for name, other := range map[string]string{
		"a clean path":        key("/./image/", options{}, slurm...),
		"its own environment": key("/image", options{}, append(slurm, "SLURM_PROCID=3", "RANK=3")...),
		"its own flags":       key("/image", options{Dir: "/etc"}, slurm...),
	} {
		if other != base {
			t.Errorf("%s keeps it out", name)
		}
	}
	for name, other := range map[string]string{
		"another image":      key("/other", options{}, slurm...),
		"another step":       key("/image", options{}, "SLURM_JOB_ID=1", "SLURM_STEP_ID=3"),
		"another launcher":   key("/image", options{}, append(slurm, "PMIX_NAMESPACE=x")...),
		"no launcher":        key("/image", options{}),
		"half a step":        key("/image", options{}, "SLURM_JOB_ID=1"),
		"a PID namespace":    key("/image", options{PID: true}, slurm...),
		"root":               key("/image", options{Fakeroot: true}, slurm...),
		"new revisions":      key("/image", options{Follow: true}, slurm...),
		"OpenMPI's job":      key("/image", options{}, "OMPI_MCA_ess_base_jobid=5"),
		"OpenMPI's next job": key("/image", options{}, "OMPI_MCA_ess_base_jobid=6"),
	} {
		if other == base {
			t.Errorf("%s shares it", name)
		}
	}
	if again := key("/image", options{}); again != key("/image", options{}) {
		t.Error("children of one parent do not share")
	}
}
