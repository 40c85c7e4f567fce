package probe

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// seccompAvailable asks the kernel whether filters may take an action.
func seccompAvailable(action *uint32) error {
	const getActionAvail = 2 // SECCOMP_GET_ACTION_AVAIL
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, getActionAvail, 0, uintptr(unsafe.Pointer(action))); errno != 0 {
		return errno
	}
	return nil
}
