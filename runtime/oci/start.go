package oci

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// IO is how a process and its caller are connected. The zero value hands the caller's standard streams on.
type IO struct {
	ConsoleSocket string // Unix socket that receives the terminal's master end
	PIDFile       string // gets the process's number in the caller's namespace
	PreserveFDs   int    // descriptors from 3 on that are passed on
	Detach        bool   // do not wait for the process
}

// check refuses combinations in which a terminal's other end would belong to nobody.
func (o *IO) check(terminal bool) error {
	switch {
	case terminal && o.Detach && o.ConsoleSocket == "":
		return errors.New("process.terminal with a detached process needs a console socket")
	case o.ConsoleSocket != "" && !(terminal && o.Detach):
		return errors.New("a console socket needs process.terminal and a detached process")
	}
	return nil
}

// launch starts p in c by way of start, and waits for it unless it is detached. It returns the exit status of a process
// waited for, 128+n for one killed by signal n.
func (o *IO) launch(p *specs.Process, init bool, start func(*libcontainer.Process) error) (int, error) {
	if err := o.check(p.Terminal); err != nil {
		return 0, err
	}
	process, err := newProcess(p)
	if err != nil {
		return 0, err
	}
	process.Init = init
	if process.ExtraFiles, err = preserved(o.PreserveFDs); err != nil {
		return 0, err
	}
	// Before the start: a signal between the two must not be lost.
	signals := make(chan os.Signal, 64)
	if !o.Detach {
		signal.Notify(signals)
		defer signal.Stop(signals)
	}
	term, err := o.connect(process, p.Terminal)
	if err != nil {
		return 0, err
	}
	defer term.close()
	if err := start(process); err != nil {
		return 0, err
	}
	if err := errors.Join(term.started(), o.writePID(process)); err != nil {
		_ = process.Signal(unix.SIGKILL)
		_, _ = process.Wait()
		return 0, err
	}
	if o.Detach {
		return 0, nil
	}
	return wait(process, term, signals)
}

// wait passes signals on until the process has ended. Its session is one of its own, so the terminal's signals reach
// only this program.
func wait(process *libcontainer.Process, term *terminal, signals <-chan os.Signal) (int, error) {
	type result struct {
		state *os.ProcessState
		err   error
	}
	ended := make(chan result, 1)
	go func() {
		state, err := process.Wait()
		ended <- result{state, err}
	}()
	term.resize()
	for {
		select {
		case r := <-ended:
			if r.state == nil {
				return 0, fmt.Errorf("wait for the process: %w", r.err)
			}
			return exitStatus(r.state), nil
		case s := <-signals:
			switch s {
			case unix.SIGURG, unix.SIGPIPE: // ours: Go's preemption, a closed output
			case unix.SIGCHLD:
				reap(process)
			case unix.SIGWINCH:
				term.resize()
			default:
				if err := process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
					logrus.Debugf("signal %v: %v", s, err)
				}
			}
		}
	}
}

func exitStatus(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// writePID writes the process's number where its caller wants it.
func (o *IO) writePID(process *libcontainer.Process) error {
	if o.PIDFile == "" {
		return nil
	}
	pid, err := process.Pid()
	if err != nil {
		return err
	}
	return writePIDFile(o.PIDFile, pid)
}

// writePIDFile writes a pid file whole or not at all: its reader waits for it to appear.
func writePIDFile(path string, pid int) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".pid-*")
	if err != nil {
		return fmt.Errorf("pid file: %w", err)
	}
	_, err = f.WriteString(strconv.Itoa(pid))
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("pid file: %w", err)
	}
	return nil
}
