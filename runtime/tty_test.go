package runtime

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openTerminal makes a pseudo-terminal; what is written to the first file is typed, what the programs print is read from it.
func openTerminal(t *testing.T) (keyboard, terminal *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("needs pseudo-terminals: ", err)
	}
	keyboard = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { keyboard.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("needs pseudo-terminals in /dev/pts: ", err)
	}
	t.Cleanup(func() { terminal.Close() })
	return keyboard, terminal
}

// onTerminal runs a container as the leader of a session on a terminal. It types text when the container says "ready",
// and returns what was printed before, and how the container ended.
func (c container) onTerminal(t *testing.T, text string) (printed string, status syscall.WaitStatus, name string) {
	t.Helper()
	keyboard, terminal := openTerminal(t)
	cmd := c.command(t)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	lines := bufio.NewReader(keyboard)
	for {
		line, err := lines.ReadString('\n')
		if err != nil || strings.TrimSpace(line) == "ready" {
			break
		}
		printed += strings.TrimRight(line, "\r\n") + "\n"
	}
	if _, err := keyboard.WriteString(text); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	return printed, cmd.ProcessState.Sys().(syscall.WaitStatus), terminal.Name()
}

func TestTerminal(t *testing.T) {
	image := newImage(t)
	for _, tt := range []struct {
		name string
		c    container
		tty  string // "" = the caller's

		interrupted syscall.WaitStatus
	}{
		{"default", container{}, "", syscall.WaitStatus(syscall.SIGINT)},
		{"contain", container{Request: Request{Contain: true}}, "/dev/console", syscall.WaitStatus(syscall.SIGINT)},
		{"pid namespace", container{reexec: true, Request: Request{Namespaces: Namespaces{PID: true}}}, "", (128 + syscall.WaitStatus(syscall.SIGINT)) << 8},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.c.Image.Path, tt.c.Args = image, sh("tty; test -t 1 && echo terminal; echo ready; read line; echo > /dev/tty; test x$line = xtyped && exit 5")
			printed, status, name := tt.c.onTerminal(t, "typed\n")
			if tt.tty != "" {
				name = tt.tty
			}
			if want := name + "\nterminal\n"; printed != want || status.ExitStatus() != 5 {
				t.Errorf("printed %q, want %q; ended with %v", printed, want, status)
			}
			tt.c.Args = sh("echo ready; exec sleep 60")
			_, status, _ = tt.c.onTerminal(t, "\x03")
			if want := tt.interrupted; status != want {
				t.Errorf("after Ctrl-C: %#x", status)
			}
		})
	}
}
