package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/flatrun/flatrun/mount/enter"
)

// job is what a test passes to the program that becomes the container: this test binary, executed once more.
type job struct {
	Request Request
	UID     int
	GID     int
}

const (
	jobVariable    = "FLATRUN_TEST_JOB"
	reexecVariable = "FLATRUN_TEST_REEXEC" // starts with no plan, and once more with one for a PID namespace
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(holderVariable); dir != "" {
		if err := runHolder(dir); err != nil {
			fmt.Fprintln(os.Stderr, "session:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if text := os.Getenv(jobVariable); text != "" {
		runJob(text)
	}
	os.Exit(m.Run())
}

// runJob becomes the container, in namespaces that the constructor of package enter has made by the plan in FLATRUN_ENTER.
func runJob(text string) {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, "FATAL:", err)
		os.Exit(255)
	}
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		fail(err)
	}
	if os.Getenv(reexecVariable) != "" && enter.Current().Plan == nil {
		KeepSignals()
		fail(enter.Reexec(enter.Plan{New: enter.PID, Init: true}))
	}
	if err := enter.Current().Err; err != nil {
		fail(err)
	}
	host, err := ReadHost(j.UID, j.GID)
	if err != nil {
		fail(err)
	}
	if home, ok := os.LookupEnv("HOME"); ok { // tests choose the account's directory by it
		host.Home = home
	}
	spec, err := Spec(j.Request, host)
	if err != nil {
		fail(err)
	}
	level := slog.LevelWarn
	if os.Getenv("FLATRUN_TEST_VERBOSE") != "" {
		level = slog.LevelInfo
	}
	fail(Start(spec, Extras{Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))}))
}

// container is one run in a test.
type container struct {
	Request
	dir    string   // working directory of the caller
	env    []string // additional environment of the caller
	plan   string   // FLATRUN_ENTER; "" = an own user namespace
	reexec bool
	files  []*os.File
	shell  string // run by a shell which runs "$@" in the container
	stdin  io.Reader
}

// command returns the command that runs a container.
func (c container) command(t *testing.T) *exec.Cmd {
	t.Helper()
	if c.Env == nil {
		c.Env = []string{"PATH=/bin", "HOME=/nowhere"}
	}
	text, err := json.Marshal(job{c.Request, os.Getuid(), os.Getgid()})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{self}
	if c.shell != "" {
		args = []string{"/bin/sh", "-c", c.shell, "sh", self}
	}
	plan := "FLATRUN_ENTER=" + c.plan
	switch {
	case c.reexec:
		plan = reexecVariable + "=1"
	case c.plan == "":
		plan += "own;"
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = c.dir
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	cmd.Env = append(append(os.Environ(), jobVariable+"="+string(text), plan, "PWD="+cmd.Dir), c.env...)
	cmd.ExtraFiles = c.files
	cmd.Stdin = c.stdin
	return cmd
}

// result is how a container ended.
type result struct {
	out, err string
	code     int // 128+N for signal N
}

func (c container) run(t *testing.T) result {
	t.Helper()
	cmd := c.command(t)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	r := result{out: out.String(), err: errs.String()}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		status := exit.Sys().(syscall.WaitStatus)
		r.code = status.ExitStatus()
		if status.Signaled() {
			r.code = 128 + int(status.Signal())
		}
	case err != nil:
		t.Fatal(err)
	}
	return r
}

// sh makes the command of a container a script for its shell.
func sh(script string) []string { return []string{"sh", "-c", script} }

// newImage makes an image of busybox and the given directories ("a/b/"), files ("a/b", "a/b=content") and links
// ("a/b->to"), or skips the test where there is no busybox or no user namespace.
func newImage(t *testing.T, entries ...string) string {
	t.Helper()
	needNamespaces(t)
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("needs /bin/busybox (Debian's package busybox-static): ", err)
	}
	image := filepath.Join(t.TempDir(), "image")
	for _, e := range append([]string{"bin/", "proc/", "sys/", "dev/", "tmp/", "etc/", "etc/passwd=root:x:0:0:root:/root:/bin/sh\n", "etc/group=root:x:0:\n"}, entries...) {
		makeEntry(t, image, e)
	}
	// A process that is forked meanwhile would hold the file open for writing for a moment, and it could not be executed.
	syscall.ForkLock.RLock()
	err = os.WriteFile(filepath.Join(image, "bin/busybox"), busybox, 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	for _, applet := range strings.Fields("sh cat ls echo id test readlink stat mkdir touch kill sleep env pwd grep mount umount df sort head hostname true false ps wc printf tty") {
		if err := os.Symlink("busybox", filepath.Join(image, "bin", applet)); err != nil {
			t.Fatal(err)
		}
	}
	return image
}

func makeEntry(t *testing.T, root, entry string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	name, content, _ := strings.Cut(entry, "=")
	name, to, isLink := strings.Cut(name, "->")
	name = filepath.Join(root, name)
	if strings.HasSuffix(entry, "/") && !isLink {
		must(os.MkdirAll(name, 0o755))
		return
	}
	must(os.MkdirAll(filepath.Dir(name), 0o755))
	if isLink {
		must(os.Symlink(to, name))
		return
	}
	must(os.WriteFile(name, []byte(content), 0o644))
}

// needNamespaces skips a test where ordinary users cannot make user namespaces.
func needNamespaces(t *testing.T) {
	t.Helper()
	if os.Getuid() == 0 {
		t.Skip("containers are tested as an ordinary user")
	}
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS}
	if err := cmd.Run(); err != nil {
		t.Skip("needs user namespaces: ", err)
	}
}

// listing describes a directory tree, to see that a run has left an image as it was.
func listing(t *testing.T, root string) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		lines = append(lines, fmt.Sprint(name, info.Mode(), info.Size(), info.ModTime().UnixNano()))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
