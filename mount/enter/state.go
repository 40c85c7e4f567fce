package enter

/*
#include <stdlib.h>
#include "enter.h"
*/
import "C"

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

var joined struct { // the constructor's connection becomes one Session, however often Current is called
	once    sync.Once
	session *Session
}

func current() State {
	c := &C.enter_state
	s := State{
		Kind: Kind(c.kind), New: Namespaces(c.made),
		UID: int(c.uid), GID: int(c.gid),
		Dir: C.GoString(&c.dir[0]),
	}
	if text := C.GoString(&c.plan[0]); text != "" {
		p := decodePlan(text)
		s.Plan = &p
	}
	if c.error != 0 {
		s.Err = constructorError(C.GoString(c.step), syscall.Errno(c.error))
		return s
	}
	if s.Kind == Joined {
		joined.once.Do(func() {
			joined.session = newSession(int(c.conn), s.Dir)
			joined.session.joined = true
			if c.asked != 0 {
				joined.session.asked = C.GoString(c.image)
			}
		})
		s.Session = joined.session
	}
	return s
}

// constructorError points to what an admin can do where the kernel refused a user namespace: nothing else in flatrun works then.
func constructorError(step string, errno syscall.Errno) error {
	switch {
	case (strings.Contains(step, "user namespace") || strings.HasPrefix(step, "map the")) && (errno == syscall.EPERM || errno == syscall.ENOSPC || errno == syscall.EINVAL || errno == syscall.EUSERS):
		return fmt.Errorf("%s: %w: this host, or a container around this process, does not let ordinary users have user namespaces, or has used them up (flatrun doctor tells more)", step, errno)
	}
	return fmt.Errorf("%s: %w", step, errno)
}

// satisfies compares what was made with what is wanted. Being in a session suits a plan without one as well.
func satisfies(s State, p Plan) bool {
	if s.Err != nil {
		return false
	}
	if p.Process != 0 {
		return s.Kind == Entered && s.Plan != nil && s.Plan.Process == p.Process
	}
	if s.Kind != Joined && (s.Kind != Own || p.Join) {
		return false
	}
	var made Plan
	if s.Plan != nil {
		made = *s.Plan
	}
	return s.New&p.New == p.New && made.Fakeroot == p.Fakeroot && (made.Init || !p.Init || p.New&PID == 0) &&
		len(made.UIDs) == len(p.UIDs) && made.Netns == p.Netns
}

func dieWithParent(s State) error {
	if s.New&PID == 0 || s.Plan == nil || s.Plan.Init && !s.Plan.Linger || s.Plan.Detach {
		return nil
	}
	return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
}

func plainDirectory(image string) bool {
	c := C.CString(image)
	defer C.free(unsafe.Pointer(c))
	return C.enter_plain_directory(c) != 0
}

func isRank() bool { return C.enter_is_rank() != 0 }

func flagKind(long string) (known, value, plan bool) {
	c := C.CString(long)
	defer C.free(unsafe.Pointer(c))
	kind := C.enter_flag_kind(c, C.size_t(len(long)))
	return kind != C.FLAG_UNKNOWN, kind&C.FLAG_VALUE != 0, kind&C.FLAG_PLAN != 0
}

// SessionDir returns the directory of the session for this user, the environment's job step, and a configuration file
// ("" = $FLATRUN_CONFIG or the default files), whether or not it exists.
func SessionDir(config string) (string, error) {
	var out [C.PATH_MAX]C.char
	if config == "" {
		config = os.Getenv("FLATRUN_CONFIG")
	}
	c := C.CString(config)
	defer C.free(unsafe.Pointer(c))
	if C.enter_session_dir(c, &out[0], C.PATH_MAX) != 0 {
		return "", fmt.Errorf("the session's directory has too long a name; set XDG_RUNTIME_DIR to a shorter one")
	}
	return C.GoString(&out[0]), nil
}

// dialFD connects to the session's socket in dir after the constructor's checks.
func dialFD(dir string) int {
	c := C.CString(dir)
	defer C.free(unsafe.Pointer(c))
	return int(C.enter_session_dial(c))
}

// renewFD asks on the connection for a new copy of the tree and attaches it.
func renewFD(conn int, dir string) error {
	c := C.CString(dir)
	defer C.free(unsafe.Pointer(c))
	if failed, err := C.enter_session_renew(C.int(conn), c); failed != 0 {
		return err
	}
	return nil
}

// keepCapabilities puts all capabilities of this thread into its ambient set.
func keepCapabilities() error {
	if C.enter_keep_capabilities(1) != 0 {
		return constructorError(C.GoString(C.enter_state.step), syscall.Errno(C.enter_state.error))
	}
	return nil
}
