package enter

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// HungError is a session that takes connections and does not answer.
type HungError struct {
	PID     int
	Stopped bool          // by SIGSTOP, Ctrl-Z or a batch system
	After   time.Duration // for which it was waited
}

// Error says which process hangs, and what to do. Its parent starts another one in its place when it is killed.
func (e *HungError) Error() string {
	if e.Stopped {
		return fmt.Sprintf("the session's process %d is stopped; let it go on with kill -CONT %d", e.PID, e.PID)
	}
	return fmt.Sprintf("the session's process %d does not answer for %s; if that stays so, end it with kill -9 %d, and another one takes its place",
		e.PID, e.After, e.PID)
}

// StatusWithin is Status with an end to waiting: the error of a session that hangs is a *HungError, at once where its process
// is stopped.
func (s *Session) StatusWithin(patience time.Duration) (Status, error) {
	reply, err := s.askWithin("status", patience)
	if err != nil || reply.Status == nil {
		return Status{}, err
	}
	return *reply.Status, nil
}

// stoppedAfter is how often a session that has not answered yet is looked at: one that is stopped will not.
const stoppedAfter = 500 * time.Millisecond

func (s *Session) askWithin(op string, patience time.Duration) (reply Reply, err error) {
	if _, err = s.Conn.WriteString(`{"op":"` + op + `"}` + "\n"); err != nil {
		return reply, err
	}
	return s.read(patience)
}

// patientReader reads what the session sends. The error of one that sends nothing is a *HungError: when it is stopped, or when
// the patience with it is over.
type patientReader struct{ s *Session }

func (r patientReader) Read(p []byte) (int, error) {
	for waited := time.Duration(0); ; {
		step := stoppedAfter
		if r.s.patience > 0 {
			step = min(step, r.s.patience-waited)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(r.s.Conn.Fd()), Events: unix.POLLIN}}, int(step.Milliseconds()))
		if n > 0 || err != nil && err != unix.EINTR {
			return r.s.Conn.Read(p)
		}
		if err == unix.EINTR {
			continue
		}
		waited += step
		if hung := r.s.hung(waited); hung.Stopped || r.s.patience > 0 && waited >= r.s.patience {
			return 0, hung
		}
	}
}

// hung looks at the process that does not answer.
func (s *Session) hung(after time.Duration) *HungError {
	e := &HungError{PID: s.peer(), After: after}
	state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", e.PID))
	e.Stopped = err == nil && strings.Contains(string(state), ") T ")
	return e
}

// peer is the process that listens.
func (s *Session) peer() int {
	peer, err := unix.GetsockoptUcred(int(s.Conn.Fd()), unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0
	}
	return int(peer.Pid)
}
