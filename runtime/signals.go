package runtime

/*
extern unsigned long long flatrun_signals_ignored;
extern unsigned long long flatrun_signals_blocked;
*/
import "C"

import (
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// KeepSignals makes the process ignore what its caller had it ignore, which the Go runtime has undone. A program that
// executes itself once more before Start (enter.StartOptions.Before) calls it first, as that would lose them. If SIGCHLD is
// among them, the process cannot wait for children any more.
func KeepSignals() {
	for n := range 64 {
		if uint64(C.flatrun_signals_ignored)&(1<<n) != 0 {
			signal.Ignore(syscall.Signal(n + 1))
		}
	}
}

// restoreSignals sets signals as the caller had them: execve keeps what is ignored or blocked, and the Go runtime
// ignores and blocks nothing. Batch systems and shells rely on it (nohup, background jobs, SIGPIPE). What the runtime
// handles, execve sets back to the default by itself.
func restoreSignals() {
	KeepSignals()
	mask := unix.Sigset_t{}
	mask.Val[0] = uint64(C.flatrun_signals_blocked)
	unix.PthreadSigmask(unix.SIG_SETMASK, &mask, nil)
}
