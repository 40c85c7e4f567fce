package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/runtime"
	"github.com/flatrun/flatrun/runtime/instance"
)

// instanceVariable tells the process that becomes an instance apart from the one
// that starts it; its value is the name.
const instanceVariable = "FLATRUN_INSTANCE_NAME"

// Descriptors of the process that becomes an instance. Standard output and error
// are the instance's logs already.
const (
	fdStatus   = 3 + iota // pipe to the starter, see statusStarted
	fdState               // the instance's file, locked
	fdMessages            // the starter's standard error: messages of this program
)

// background is the part of a container that runs as an instance.
type background struct {
	name          string
	status, state *os.File
	pid           int  // of the instance's process 1, outside
	idle          bool // the image has nothing to start
}

func runInstanceStart(p *program, o *options, args []string) error {
	return p.startInstance(o, "start", args)
}

func runInstanceRun(p *program, o *options, args []string) error {
	return p.startInstance(o, "run", args)
}

// startInstance starts this program once more in the background, and waits
// until the instance's program runs.
func (p *program) startInstance(o *options, action string, args []string) error {
	name := args[1]
	if p.getenv(instanceVariable) == name {
		return p.becomeInstance(o, action, args[0], name, args[2:])
	}
	store, err := instance.Open()
	if err != nil {
		return err
	}
	state, err := store.Create(name)
	if err != nil {
		return err
	}
	defer func() {
		state.Close()
		store.List("*") // removes the name again if nobody lives under it
	}()
	if err := p.spawnInstance(store, state, name); err != nil {
		return err
	}
	if o.PIDFile != "" {
		if err := writePIDFile(store, name, o.PIDFile); err != nil {
			return err
		}
	}
	out, errs := store.LogPaths(name)
	p.log.verbosef("Output of the instance is in %s and %s", out, errs)
	p.log.infof("instance started successfully")
	return nil
}

// spawnInstance returns when the instance runs, or with why it does not.
func (p *program) spawnInstance(store *instance.Store, state *os.File, name string) error {
	stdout, stderr, err := store.OpenLogs(name)
	if err != nil {
		return fatal("logs of instance %s: %w", name, err)
	}
	defer stdout.Close()
	defer stderr.Close()
	if err := instance.Write(state, instance.State{Name: name, LogOut: stdout.Name(), LogErr: stderr.Name()}); err != nil {
		return fatal("state of instance %s: %w", name, err)
	}
	status, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	defer status.Close()
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: os.Args, Env: append(p.environ, instanceVariable+"="+name),
		Stdout: stdout, Stderr: stderr, ExtraFiles: []*os.File{tell, state, os.Stderr},
		// A session of its own: neither the terminal's signals nor its end reach an instance.
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	runtime.KeepSignals()
	heedInterrupts()
	err = cmd.Run()
	tell.Close()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exitCode(exit.ExitCode()) // it has said why
	} else if err != nil {
		return fatal("start instance %s: %w", name, err)
	}
	word, err := io.ReadAll(status)
	if err != nil {
		return fatal("wait for instance %s: %w", name, err)
	}
	failure, started := strings.CutPrefix(string(word), statusStarted)
	var code int
	switch n, _ := fmt.Sscanf(failure, "failed %d", &code); {
	case n == 1:
		return exitCode(code)
	case !started:
		return fatal("instance %s ended before it was started; %s tells more", name, stderr.Name())
	}
	return nil
}

// heedInterrupts undoes what a shell does to its background jobs: ignoring what
// an instance is stopped by. Ignored ends of children would keep the child's
// status from us.
func heedInterrupts() {
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGCHLD} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s) // what is handled starts as default in children
		}
	}
}

func writePIDFile(store *instance.Store, name, file string) error {
	state, err := store.Get(name)
	if err != nil {
		return fatal("instance %s ended at once: %s tells more", name, state.LogErr)
	}
	if err := os.WriteFile(file, []byte(strconv.Itoa(state.PID)+"\n"), 0o644); err != nil {
		return fatal("pid file %s: %w", file, err.(*os.PathError).Err)
	}
	return nil
}

// becomeInstance is the process in the background.
func (p *program) becomeInstance(o *options, action, arg, name string, args []string) error {
	b := &background{name: name, status: os.NewFile(fdStatus, "status"), state: os.NewFile(fdState, "state")}
	p.log.w = os.NewFile(fdMessages, "messages")
	// Whatever else the caller left open, such as a pipe of a shell, is not the instance's to hold.
	unix.CloseRange(fdMessages+1, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	o.PID, o.NoInit = true, false
	c := &container{program: p, options: o, action: action, arg: arg, args: args, background: b}
	code := p.exit(c.run())
	if code != 0 {
		fmt.Fprintf(b.status, "failed %d\n", code)
	}
	return exitCode(code)
}

// statusStarted is said on the status pipe before the instance's program is
// executed, which ends the pipe. What follows is a failure with its exit code.
const statusStarted = "started\n"

// entered is called when the namespaces are there: nothing of ours must survive
// execve from here on.
func (b *background) entered() error {
	for _, fd := range []int{fdStatus, fdState, fdMessages} {
		unix.CloseOnExec(fd)
	}
	// The parent is process 1 of the instance. Its number outside can be told as
	// long as /proc is the caller's.
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fatal("process id of the instance: %w", err)
	}
	_, rest, _ := bytes.Cut(status, []byte("\nPPid:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	if b.pid, err = strconv.Atoi(strings.TrimSpace(string(line))); err != nil || b.pid == 0 {
		return fatal("process id of the instance: /proc/self/status does not tell it")
	}
	return nil
}

// plan asks for a process 1 that stays.
func (b *background) plan(plan *enter.Plan) {
	plan.New |= enter.PID
	plan.Init, plan.Detach, plan.Keep = false, true, fdState
}

// startBackground makes the container and becomes its program. Without one, the container
// is there to be entered.
func (c *container) startBackground(spec *specs.Spec) error {
	b := c.background
	state, err := instance.Read(b.state)
	if err != nil {
		return fatal("state of instance %s: %w", b.name, err)
	}
	state.PID, state.Image, state.Spec, state.Config, state.Cgroup = b.pid, c.image.Shown, rightsOf(spec), c.image.Config, c.cgroup
	if b.idle {
		spec.Process.Args = nil
	}
	built := func() error {
		if err := instance.Write(b.state, state); err != nil {
			return fmt.Errorf("state of instance %s: %w", b.name, err)
		}
		_, err := io.WriteString(b.status, statusStarted)
		return err
	}
	return runtime.Start(spec, runtime.Extras{Env: c.environ, Log: c.slog(), Built: built})
}

// rightsOf is the part of a specification that processes need which enter the
// container later.
func rightsOf(spec *specs.Spec) *specs.Spec {
	process := *spec.Process
	process.Args, process.Env = nil, nil
	rights := &specs.Spec{Version: spec.Version, Process: &process, Annotations: spec.Annotations}
	if spec.Linux != nil {
		rights.Linux = &specs.Linux{Seccomp: spec.Linux.Seccomp, UIDMappings: spec.Linux.UIDMappings}
	}
	return rights
}
