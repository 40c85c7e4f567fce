package fusefs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// errInterrupted ends a wait because the caller was signalled.
var errInterrupted = errors.New("interrupted by a signal")

// pendingInterval is how often a waiting caller is looked at again after a signal that did not end its wait: the kernel
// reports only the first signal of a request, so a later kill shows nowhere else.
const pendingInterval = 50 * time.Millisecond

// caller is who waits for an answer.
type caller struct {
	cancel <-chan struct{} // closed when a signal reaches the waiting thread
	pid    uint32          // the thread's
}

// ask runs a query that need not end when its context does: SQLite may have to open a catalog again, and who waits for that
// must still be able to leave. An abandoned query ends by itself; it must not change what the kernel's answers are counted in.
func ask[T any](fs *FS, who caller, query func(context.Context) (T, error)) (answer T, err error) {
	if err := fs.refusal(); err != nil {
		return answer, err
	}
	err = fs.waiting(who, func(ctx context.Context) error {
		var a T
		var failed error
		done := make(chan struct{})
		go func() {
			defer close(done)
			a, failed = query(ctx)
		}()
		select {
		case <-done:
			answer = a
			return failed
		case <-ctx.Done():
			return unavailable(context.Cause(ctx))
		}
	})
	return answer, err
}

// waiting runs fn, which may have to wait for the network, with a context that ends when the caller gives up.
//
// The kernel reports any signal that reaches a waiting caller. Answering each with EINTR would break programs that use
// timers or wait for children (read(2) on a regular file "cannot" fail so), therefore a signal ends the wait only when
// it is one by which users and batch systems stop processes.
func (fs *FS) waiting(who caller, fn func(context.Context) error) error {
	ctx, stop := context.WithCancelCause(fs.ctx)
	if fs.timeout > 0 {
		var expire context.CancelFunc
		ctx, expire = context.WithTimeoutCause(ctx, fs.timeout,
			fmt.Errorf("no answer within %s: %w", fs.timeout, context.DeadlineExceeded))
		defer expire()
	}
	done := make(chan struct{})
	left := make(chan struct{})
	go func() {
		defer close(left)
		watch(who, done, stop)
	}()
	err := fn(ctx)
	// The channel belongs to the next request as soon as this one is answered.
	close(done)
	<-left
	if err != nil {
		err = because(ctx, err)
	}
	stop(nil)
	return err
}

// watch cancels once a signal ends the caller's wait, and returns when done is closed.
func watch(who caller, done <-chan struct{}, stop context.CancelCauseFunc) {
	select {
	case <-done:
		return
	case <-who.cancel:
	}
	ticker := time.NewTicker(pendingInterval)
	defer ticker.Stop()
	for {
		if urgent(who.pid) {
			stop(errInterrupted)
			return
		}
		select {
		case <-done:
			return
		case <-ticker.C:
		}
	}
}

// because adds the reason for which a context ended to an error that only tells that it did.
func because(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if cause == nil || errors.Is(err, cause) {
		return err
	}
	if errors.Is(cause, errInterrupted) {
		return cause
	}
	return fmt.Errorf("%w: %w", cause, err)
}

// patient are signals that programs expect to handle without losing the system call they are in.
const patient = uint64(1)<<(syscall.SIGCHLD-1) | 1<<(syscall.SIGURG-1) | 1<<(syscall.SIGWINCH-1) | 1<<(syscall.SIGALRM-1) |
	1<<(syscall.SIGVTALRM-1) | 1<<(syscall.SIGPROF-1) | 1<<(syscall.SIGIO-1) | 1<<(syscall.SIGCONT-1)

// urgent tells whether a signal waits for the thread pid that must end its wait. A thread that cannot be looked at, as it
// lives in a pid namespace the server does not see, counts as urgent: better a short read than a process that hangs.
func urgent(pid uint32) bool {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(int(pid)) + "/status")
	if err != nil {
		return true
	}
	return pendingSignals(string(status))&^patient != 0
}

// pendingSignals reads the signals that wait for a thread from its status file. Blocked ones do not count; everything
// counts when the file does not look as expected.
func pendingSignals(status string) uint64 {
	var pending, blocked uint64
	seen := 0
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		bits, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil {
			continue
		}
		switch key {
		case "SigPnd", "ShdPnd":
			pending |= bits
			seen++
		case "SigBlk":
			blocked = bits
			seen++
		}
	}
	if seen != 3 {
		return ^uint64(0)
	}
	return pending &^ blocked
}
