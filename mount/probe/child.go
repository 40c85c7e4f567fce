package probe

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// step is a system call for a child to make.
type step struct {
	what string // for the error: "mount overlayfs"
	nr   uintptr
	args [6]uintptr
	from [6]uint8 // 1 + the number of the step whose result is this argument; 0 = args has it
}

// childTimeout is far above what any probe takes; it guards against a kernel or
// security module that lets a call hang.
const childTimeout = 30 * time.Second

// script is a list of steps with the memory that their arguments point to.
type script struct {
	steps []step
	keep  []any
	fds   []int // to close in the end
}

// text is a pointer argument to a NUL-terminated string.
func (s *script) text(str string) uintptr {
	p, err := unix.BytePtrFromString(str)
	if err != nil {
		panic(err) // all strings come from this package and have no NUL
	}
	s.keep = append(s.keep, p)
	return uintptr(unsafe.Pointer(p))
}

// bytes is a pointer argument to b.
func (s *script) bytes(b []byte) uintptr {
	s.keep = append(s.keep, &b[0])
	return uintptr(unsafe.Pointer(&b[0]))
}

// call appends a step and returns what later steps use as its result.
func (s *script) call(what string, nr uintptr, args ...any) result {
	st := step{what: what, nr: nr}
	for i, a := range args {
		switch a := a.(type) {
		case int:
			st.args[i] = uintptr(a)
		case uintptr:
			st.args[i] = a
		case string:
			st.args[i] = s.text(a)
		case []byte:
			st.args[i] = s.bytes(a)
		case result:
			st.from[i] = uint8(a) + 1
		}
	}
	s.steps = append(s.steps, st)
	return result(len(s.steps) - 1)
}

type result uint8

// write appends the steps that put text into a file.
func (s *script) write(file, text string) {
	fd := s.call("open "+file, unix.SYS_OPENAT, atFDCWD, file, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	s.call("write "+file, unix.SYS_WRITE, fd, []byte(text), len(text))
}

const atFDCWD = unix.AT_FDCWD

// run makes the calls in a child cloned with the given flags and returns why the
// first one failed: an error that is its errno.
//
// The child is a copy of a process with many threads, of which only this one
// goes on. It must not touch the Go runtime, so it does nothing but raw system
// calls prepared beforehand, with all signals blocked, and ends. That spares a
// start of the program for each probe, and a hook in every main.
func (s *script) run(flags uintptr) error {
	return s.runWith(flags, nil)
}

// runWith calls hold, if any, with the child's pid before the child begins.
func (s *script) runWith(flags uintptr, hold func(pid int) error) error {
	defer func() {
		for _, fd := range s.fds {
			unix.Close(fd)
		}
	}()
	var report, start [2]int
	if err := unix.Pipe2(report[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("pipe: %w", err)
	}
	out := os.NewFile(uintptr(report[0]), "report")
	defer out.Close()
	if err := unix.Pipe2(start[:], unix.O_CLOEXEC); err != nil {
		unix.Close(report[1])
		return fmt.Errorf("pipe: %w", err)
	}
	pid, errno := s.clone(flags, report[1], start[0])
	unix.Close(report[1])
	unix.Close(start[0])
	defer runtime.KeepAlive(s.keep)
	defer unix.Close(start[1])
	if errno != 0 {
		return fmt.Errorf("clone: %w", errno)
	}
	var held error
	if hold != nil {
		held = hold(pid)
	}
	// The end of the pipe would not do as a signal: another child, cloned at the
	// same time, has a copy of this end.
	if _, err := unix.Write(start[1], []byte{1}); err != nil {
		held = errors.Join(held, fmt.Errorf("start the probing process: %w", err))
		unix.Kill(pid, unix.SIGKILL)
	}
	return errors.Join(held, s.await(pid, out))
}

// await reads the child's report: the number of the failed step and its errno.
func (s *script) await(pid int, out *os.File) error {
	var words [2]int32
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), int(unsafe.Sizeof(words)))
	timer := time.AfterFunc(childTimeout, func() { unix.Kill(pid, unix.SIGKILL) })
	n, err := out.Read(raw)
	timer.Stop()
	unix.Kill(pid, unix.SIGKILL) // where it has not ended by itself; it is not reaped yet, so the pid is still its own
	for {
		if _, werr := unix.Wait4(pid, nil, 0, nil); werr != unix.EINTR {
			break
		}
	}
	switch {
	case err != nil || n != len(raw):
		return fmt.Errorf("the probing process died: %v", err)
	case words[0] < 0:
		return nil
	case int(words[0]) >= len(s.steps):
		return errors.New("the probing process gave no report")
	}
	return fmt.Errorf("%s: %w", s.steps[words[0]].what, syscall.Errno(words[1]))
}

// clone starts the child. What follows the clone call in it uses only memory
// that exists already and functions that need no stack check.
//
//go:norace
func (s *script) clone(flags uintptr, report int, start int) (pid int, errno syscall.Errno) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, old [8]byte // the kernel's signal set
	for i := range all {
		all[i] = 0xff
	}
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	results := make([]uintptr, len(s.steps))
	words := new([2]int32)
	words[0] = -1
	one := new([1]byte)
	steps := s.steps

	child, _, e := unix.RawSyscall6(unix.SYS_CLONE, flags|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if child != 0 || e != 0 {
		unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
		return int(child), e
	}
	unix.RawSyscall6(unix.SYS_READ, uintptr(start), uintptr(unsafe.Pointer(one)), 1, 0, 0, 0)
	for i := range steps {
		st := &steps[i]
		var a [6]uintptr
		for j := range a {
			a[j] = st.args[j]
			if st.from[j] != 0 {
				a[j] = results[st.from[j]-1]
			}
		}
		r, _, e := unix.RawSyscall6(st.nr, a[0], a[1], a[2], a[3], a[4], a[5])
		if e != 0 {
			words[0], words[1] = int32(i), int32(e)
			break
		}
		results[i] = r
	}
	unix.RawSyscall6(unix.SYS_WRITE, uintptr(report), uintptr(unsafe.Pointer(words)), 8, 0, 0, 0)
	for {
		unix.RawSyscall6(unix.SYS_EXIT_GROUP, 0, 0, 0, 0, 0, 0)
	}
}
