package main

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/runtime/instance"
)

// killTime is how long the kernel may take to end a killed instance.
const killTime = 10 * time.Second

func runInstanceStop(p *program, o *options, args []string) error {
	if len(args) == 0 && !o.All {
		return usageError{verb: findNested("instance", "stop"), reason: "invalid command: give the name of an instance, or --all"}
	}
	signal, err := parseSignal(o.Stop.Signal)
	if err != nil {
		return err
	}
	if o.Force {
		signal = unix.SIGKILL
	}
	store, err := p.instances(o)
	if err != nil {
		return err
	}
	states, err := store.List(pattern(args))
	if err != nil {
		return err
	}
	if len(states) == 0 {
		return usageError{verb: findNested("instance", "stop"), reason: instance.ErrNotFound.Error()}
	}
	err = p.stopAll(states, signal, time.Duration(max(o.Stop.Timeout, 0))*time.Second)
	store.List("*") // removes their state
	return err
}

// stopAll sends the signal to all of them, waits for all of them together, and
// kills who is left.
func (p *program) stopAll(states []instance.State, signal unix.Signal, timeout time.Duration) error {
	var failed []error
	running := make(map[int]instance.State) // by pidfd
	defer func() {
		for fd := range running {
			unix.Close(fd)
		}
	}()
	for _, s := range states {
		fd, err := unix.PidfdOpen(s.PID, 0)
		if errors.Is(err, unix.ESRCH) {
			s.RemoveLogs()
			continue
		}
		p.log.infof("Stopping %s instance of %s (PID=%d)", s.Name, s.Image, s.PID)
		if err == nil {
			err = unix.PidfdSendSignal(fd, signal, nil, 0)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			failed = append(failed, fatal("stop instance %s: %w", s.Name, err))
			continue
		}
		running[fd] = s
	}
	waitEnds(running, timeout)
	for fd, s := range running {
		p.log.infof("Killing %s instance of %s (PID=%d) (Timeout)", s.Name, s.Image, s.PID)
		unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
	waitEnds(running, killTime)
	for _, s := range running {
		failed = append(failed, fatal("instance %s does not end although it was killed: a process of it hangs in the kernel", s.Name))
	}
	return errors.Join(failed...)
}

// waitEnds takes out of running who has ended, until all have or the time is up.
func waitEnds(running map[int]instance.State, timeout time.Duration) {
	for end := time.Now().Add(timeout); len(running) > 0; {
		var poll []unix.PollFd
		for fd := range running {
			poll = append(poll, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
		left := time.Until(end)
		if _, err := unix.Poll(poll, int(max(left, 0).Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		for _, f := range poll {
			if f.Revents != 0 {
				running[int(f.Fd)].RemoveLogs()
				delete(running, int(f.Fd))
				unix.Close(int(f.Fd))
			}
		}
		if left <= 0 {
			return
		}
	}
}

// parseSignal knows signals by name, with or without SIG, and by number.
func parseSignal(text string) (unix.Signal, error) {
	if text == "" {
		return unix.SIGINT, nil
	}
	if n, err := strconv.Atoi(text); err == nil && n > 0 && n <= 64 {
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(text)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if s := unix.SignalNum(name); s != 0 {
		return s, nil
	}
	return 0, fatal("signal %q: not known: give a name such as TERM, or a number", text)
}
