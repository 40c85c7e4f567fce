package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// killTime bounds the wait for a killed process: longer waits are for a disk or a server, and are the caller's to see.
const killTime = 10 * time.Second

// Kill sends a signal to a container's first process, or to all of them. All of a container that has ended is nothing,
// and so no error.
func (r *Runtime) Kill(id string, sig unix.Signal, all bool) error {
	c, err := r.load(id)
	if err != nil {
		return err
	}
	err = signalContainer(c, sig, all)
	if errors.Is(err, libcontainer.ErrNotRunning) && all {
		return nil
	}
	if err != nil {
		return fmt.Errorf("container %q: %w", id, err)
	}
	return nil
}

// signalContainer adds to libcontainer's what it cannot do without a control group: reach all processes of a container.
// The kernel does so when the first process of a PID namespace is killed; where the namespace is shared, they are
// searched for.
func signalContainer(c *libcontainer.Container, sig unix.Signal, all bool) error {
	status, err := c.Status()
	switch {
	case err != nil:
		return err
	case status == libcontainer.Stopped:
		return libcontainer.ErrNotRunning
	}
	config := c.Config()
	alone := !all && sig != unix.SIGKILL
	kernel := sig == unix.SIGKILL && (config.Namespaces.IsPrivate(configs.NEWPID) || hasCgroup(c))
	if alone || kernel {
		return c.Signal(sig)
	}
	pids, err := members(c)
	if err != nil {
		return err
	}
	for _, pid := range pids {
		err = errors.Join(err, signalProcess(pid, sig))
	}
	return err
}

// signalProcess signals by handle rather than by number: the number may be another process's by now, and who left the
// container since it was listed is dead.
func signalProcess(pid int, sig unix.Signal) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return nil // gone
	}
	defer func() { _ = p.Release() }()
	if err := p.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal process %d: %w", pid, err)
	}
	return nil
}

// ParseSignal reads a signal as a number or a name, with or without SIG.
func ParseSignal(text string) (unix.Signal, error) {
	if n, err := strconv.Atoi(text); err == nil {
		if n < 0 || n > 64 {
			return 0, fmt.Errorf("signal %d does not exist", n)
		}
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(text)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("signal %q does not exist", text)
}

// Delete removes a container that has stopped or not started; with force also one that runs or does not exist.
func (r *Runtime) Delete(id string, force bool) error {
	c, err := r.load(id)
	if errors.Is(err, libcontainer.ErrNotExist) {
		// A creation that was killed leaves the directory without a state file.
		if err := os.RemoveAll(filepath.Join(r.Root, id)); err != nil {
			return fmt.Errorf("container %q: %w", id, err)
		}
		if force {
			return nil
		}
	}
	if err != nil {
		return err
	}
	status, err := c.Status()
	if err != nil {
		return fmt.Errorf("container %q: %w", id, err)
	}
	if !force && status != libcontainer.Stopped && status != libcontainer.Created {
		return fmt.Errorf("container %q is %s: kill it first, or use --force", id, status)
	}
	if err := r.remove(c); err != nil {
		return fmt.Errorf("container %q: %w", id, err)
	}
	return nil
}

// remove kills what is left of a container and removes its state.
func (r *Runtime) remove(c *libcontainer.Container) error {
	if err := signalContainer(c, unix.SIGKILL, true); err != nil && !errors.Is(err, libcontainer.ErrNotRunning) {
		return err
	}
	for end := time.Now().Add(killTime); c.Signal(unix.Signal(0)) == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("its first process is still there %s after it was killed", killTime)
		}
	}
	hooks, state, err := r.hooks(c)
	if err != nil {
		logrus.Warn(err)
	}
	if err := c.Destroy(); err != nil {
		return err
	}
	postStop(hooks.Poststop, state)
	return nil
}
