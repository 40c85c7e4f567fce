package oci

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal is the caller's end of a process's terminal; the zero value is that of a process without one.
type terminal struct {
	parent, child *os.File    // the socket pair through which a foreground process hands its master end over
	socket        *os.File    // or the caller's own socket
	master        *os.File    // the master end, once received
	saved         *term.State // of the caller's terminal
	drained       chan struct{}
}

// connect gives the process its standard streams. The caller's descriptors are handed on as they are: no bytes are
// copied, and a program sees the file or pipe that its caller meant.
func (o *IO) connect(process *libcontainer.Process, wanted bool) (*terminal, error) {
	t := &terminal{}
	switch {
	case !wanted:
		process.Stdin, process.Stdout, process.Stderr = os.Stdin, os.Stdout, os.Stderr
	case o.ConsoleSocket != "":
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: o.ConsoleSocket, Net: "unix"})
		if err != nil {
			return nil, fmt.Errorf("console socket: %w", err)
		}
		defer conn.Close()
		if t.socket, err = conn.File(); err != nil {
			return nil, fmt.Errorf("console socket: %w", err)
		}
		process.ConsoleSocket = t.socket
	default:
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, os.NewSyscallError("socketpair", err)
		}
		t.parent, t.child = os.NewFile(uintptr(fds[0]), "console"), os.NewFile(uintptr(fds[1]), "console")
		process.ConsoleSocket = t.child
	}
	return t, nil
}

// started receives the master end of a foreground process's terminal and joins it with the caller's.
func (t *terminal) started() error {
	if t.parent == nil {
		return nil
	}
	t.child.Close()
	fd, err := receive(t.parent)
	if err != nil {
		return fmt.Errorf("terminal of the process: %w", err)
	}
	// Non-blocking, so that close ends the copies below.
	if err := unix.SetNonblock(fd, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	t.master = os.NewFile(uintptr(fd), "terminal")
	t.drained = make(chan struct{})
	go func() { _, _ = io.Copy(t.master, os.Stdin) }()
	go func() {
		defer close(t.drained)
		_, _ = io.Copy(os.Stdout, t.master)
	}()
	if term.IsTerminal(int(os.Stdin.Fd())) {
		if t.saved, err = term.MakeRaw(int(os.Stdin.Fd())); err != nil {
			return fmt.Errorf("raw mode of the caller's terminal: %w", err)
		}
	}
	return nil
}

// receive reads one descriptor from a socket.
func receive(socket *os.File) (int, error) {
	data, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4)) // the data is the terminal's name
	_, n, _, _, err := unix.Recvmsg(int(socket.Fd()), data, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("recvmsg", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return -1, os.NewSyscallError("recvmsg", err)
	}
	for i := range messages {
		if fds, err := unix.ParseUnixRights(&messages[i]); err == nil && len(fds) == 1 {
			return fds[0], nil
		}
	}
	return -1, errors.New("no descriptor arrived")
}

// resize gives the process's terminal the size of the caller's, where both exist.
func (t *terminal) resize() {
	if t.master == nil {
		return
	}
	size, err := unix.IoctlGetWinsize(int(os.Stdin.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return
	}
	conn, err := t.master.SyscallConn() // Fd would make it blocking
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) { _ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, size) })
}

// close shows what the process wrote last and gives the caller's terminal back.
func (t *terminal) close() {
	if t.drained != nil {
		select {
		case <-t.drained:
		case <-time.After(time.Second): // a daemon that left the container's first process holds the other end
		}
	}
	for _, f := range []*os.File{t.parent, t.child, t.socket, t.master} {
		if f != nil {
			_ = f.Close()
		}
	}
	if t.saved != nil {
		_ = term.Restore(int(os.Stdin.Fd()), t.saved)
	}
}
