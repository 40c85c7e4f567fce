package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestExitCode(t *testing.T) {
	image := newImage(t)
	for code := range 256 {
		if code > 4 && code < 250 && code%31 != 0 {
			continue // the rest is the kernel's business
		}
		if r := (container{Request: Request{Image: Image{Path: image}, Args: sh(fmt.Sprint("exit ", code))}}).run(t); r.code != code || r.out+r.err != "" {
			t.Errorf("exit %d: %+v", code, r)
		}
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGSEGV, syscall.SIGUSR1, syscall.SIGPIPE, syscall.SIGINT} {
		if r := (container{Request: Request{Image: Image{Path: image}, Args: sh(fmt.Sprintf("kill -%d $$", signal))}}).run(t); r.code != 128+int(signal) {
			t.Errorf("%v: %+v", signal, r)
		}
	}
}

// TestProcess sees that the command is the process that was started.
func TestProcess(t *testing.T) {
	cmd := container{Request: Request{Image: Image{Path: newImage(t)}, Args: sh("echo $$; exec sleep 60")}}.command(t)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil || pid != cmd.Process.Pid {
		t.Errorf("the command is process %d, %d was started (%v)", pid, cmd.Process.Pid, err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("does not end after a signal")
	}
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v", status)
	}
}

// without runs the command of a container outside, by the same shell.
func (c container) without(t *testing.T, command ...string) string {
	t.Helper()
	shell := c.shell
	if shell == "" {
		shell = `exec "$@"`
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", shell, "sh"}, command...)...)
	cmd.ExtraFiles = c.files
	out, _ := cmd.Output()
	return string(out)
}

// TestSignals compares what is ignored and blocked inside with what is so without a container.
func TestSignals(t *testing.T) {
	image := newImage(t)
	show := []string{"/bin/busybox", "grep", "-E", "^Sig(Ign|Blk|Cgt)", "/proc/self/status"}
	for _, shell := range []string{
		`exec "$@"`,
		`trap "" TERM; exec "$@"`,
		`trap "" HUP INT QUIT PIPE USR1 CHLD TSTP TTOU; exec "$@"`,
		`exec env --block-signal=USR1 --block-signal=CHLD --block-signal=PROF "$@"`,
	} {
		c := container{Request: Request{Image: Image{Path: image}, Args: show}, shell: shell}
		want := c.without(t, show...)
		if want == "" {
			t.Logf("cannot run %s", shell)
			continue
		}
		if got := c.run(t); got.out != want {
			t.Errorf("%s:\n%s%swithout a container:\n%s", shell, got.out, got.err, want)
		}
	}
}

// TestReexec sees that signals and the end of the command get through a second start and the processes around a PID
// namespace.
func TestReexec(t *testing.T) {
	image := newImage(t)
	run := func(shell string, args ...string) result {
		return container{Request: Request{Image: Image{Path: image}, Args: args, Namespaces: Namespaces{PID: true}}, reexec: true, shell: shell}.run(t)
	}
	if r := run("", "sh", "-c", "echo $$; exit 7"); r.code != 7 || r.out != "2\n" {
		t.Errorf("%+v", r)
	}
	if r := run("", "sh", "-c", "kill -TERM $$"); r.code != 128+int(syscall.SIGTERM) {
		t.Errorf("%+v", r)
	}
	shell := `trap "" TERM QUIT PIPE; exec "$@"`
	show := []string{"/bin/busybox", "grep", "^SigIgn", "/proc/self/status"}
	if got, want := run(shell, show...), (container{shell: shell}).without(t, show...); got.out != want {
		t.Errorf("ignored %+v, without a container %s", got, want)
	}
}

// TestDescriptors sees that the command has the caller's descriptors and no others.
func TestDescriptors(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	image := newImage(t)
	list := []string{"/bin/busybox", "sh", "-c", "cd /proc/$$/fd && echo *"}
	for _, req := range []Request{{}, {Contain: true}, {Binds: []Bind{{Source: "/bin", Target: "/new/bin"}, {Source: "/etc/passwd", Target: "/etc/n"}}}} {
		req.Image.Path = image
		c := container{Request: req, files: []*os.File{r, w}, stdin: os.Stdin}
		c.Args = list
		if got, want := c.run(t), c.without(t, list...); got.out != want {
			t.Errorf("descriptors %s%swithout a container %s", got.out, got.err, want)
		}
		c.Args = sh("echo handed on >&4")
		if got := c.run(t); got.code != 0 {
			t.Fatalf("%+v", got)
		}
		buf := make([]byte, 64)
		if n, err := r.Read(buf); err != nil || string(buf[:n]) != "handed on\n" {
			t.Errorf("read %q, %v", buf[:n], err)
		}
	}
}

// TestLimits sees that the limit of open files, which the Go runtime raises for itself, is the caller's.
func TestLimits(t *testing.T) {
	image := newImage(t)
	c := container{Request: Request{Image: Image{Path: image}, Args: sh("ulimit -n; ulimit -Hn")}, shell: `ulimit -Sn 100; exec "$@"`}
	if got, want := c.run(t), c.without(t, "/bin/sh", "-c", "ulimit -n; ulimit -Hn"); got.out != want {
		t.Errorf("limits %+v, without a container %q", got, want)
	}
	c.Rlimits = append(c.Rlimits, rlimit("RLIMIT_NOFILE", 64), rlimit("RLIMIT_CORE", 0))
	if got := c.run(t); got.out != "64\n64\n" {
		t.Errorf("limits %+v", got)
	}
	c.Rlimits = append(c.Rlimits, rlimit("RLIMIT_NONSENSE", 64))
	if got := c.run(t); got.code != 255 || !strings.Contains(got.err, "limit RLIMIT_NONSENSE: unknown") {
		t.Errorf("%+v", got)
	}
}

func TestCommand(t *testing.T) {
	image := newImage(t, "bin/plain=x", "opt/plain=x", "opt/dir/y", "opt/script=echo script $0 $1", "opt/alien=", "opt/nointerp=#!/no/such/shell -x\n", "opt/garbage=\x00\x01\x02", "opt/noloader=")
	for name, text := range map[string]string{"alien": elfHeader(183, ""), "noloader": elfHeader(62, "/lib/no-loader.so")} {
		if err := os.WriteFile(filepath.Join(image, "opt", name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"script", "nointerp", "garbage", "alien", "noloader"} {
		if err := os.Chmod(filepath.Join(image, "opt", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		args []string
		want string // output, or the error if it begins with FATAL
	}{
		{[]string{"echo", "a b", "c"}, "a b c\n"},
		{[]string{"/bin/echo", "x"}, "x\n"},
		{[]string{"none"}, "FATAL: none: no such command in the image (PATH is /none:/bin:/opt)\n"},
		{[]string{"/none"}, "FATAL: /none: no such file in the image\n"},
		{[]string{"plain"}, "FATAL: plain: /opt/plain in the image is not executable\n"},
		{[]string{"/opt/plain"}, "FATAL: /opt/plain: is not executable\n"},
		{[]string{"/opt/dir"}, "FATAL: /opt/dir: is a directory\n"},
		{[]string{"dir"}, "FATAL: dir: no such command in the image (PATH is /none:/bin:/opt)\n"},
		{[]string{"script", "arg"}, "script /opt/script arg\n"},
		{[]string{"nointerp"}, "FATAL: nointerp: its interpreter /no/such/shell is not in the image\n"},
		{[]string{"garbage"}, "FATAL: garbage: is not a program for this machine\n"},
		{[]string{"alien"}, "FATAL: alien: is built for another processor (AARCH64)\n"},
		{[]string{"noloader"}, "FATAL: noloader: its interpreter /lib/no-loader.so is not in the image\n"},
	} {
		r := container{Request: Request{Image: Image{Path: image}, Args: tt.args, Env: []string{"PATH=/none:/bin:/opt"}}}.run(t)
		if r.out+r.err != tt.want {
			t.Errorf("%q: %q %q, want %q", tt.args, r.out, r.err, tt.want)
		}
		if fatal := strings.HasPrefix(tt.want, "FATAL"); fatal != (r.code == 255) {
			t.Errorf("%q: exit code %d", tt.args, r.code)
		}
	}
}

// elfHeader makes the beginning of a 64-bit little-endian program for a machine, with one segment that names the loader.
func elfHeader(machine byte, loader string) string {
	h := make([]byte, 64+56, 256)
	copy(h, "\x7fELF\x02\x01\x01")
	h[16], h[18], h[20], h[32], h[52], h[54], h[56] = 2, machine, 1, 64, 64, 56, 1
	p := h[64:]
	p[0], p[8] = 3, 64+56
	p[32], p[40] = byte(len(loader)+1), byte(len(loader)+1)
	if loader == "" {
		p[0] = 0
	}
	return string(h) + loader + "\x00"
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, mode := range map[string]os.FileMode{"a/denied": 0o644, "b/denied": 0o644, "b/both": 0o755, "a/both": 0o644, "here": 0o755} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	path := "PATH=" + dir + "/a:" + dir + "/b"
	for _, tt := range []struct {
		command string
		env     []string
		want    string
		err     error
	}{
		{"both", []string{path}, dir + "/b/both", nil},
		{"denied", []string{path}, "", fs.ErrPermission},
		{"none", []string{path}, "", fs.ErrNotExist},
		{"here", []string{"PATH=:" + dir + "/a"}, "./here", nil},
		{"here", []string{path}, "", fs.ErrNotExist},
		{"both", []string{"PATH=/none", path}, dir + "/b/both", nil},
		{"./x/y", nil, "./x/y", nil},
		{"true", nil, "/bin/true", nil},
	} {
		got, err := lookPath(tt.command, tt.env)
		if tt.command == "true" {
			got = strings.TrimPrefix(got, "/usr")
		}
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s in %q: %q, %v", tt.command, tt.env, got, err)
		}
	}
}
