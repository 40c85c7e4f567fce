package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// wait returns when the session has to end: told so, or unused for the idle time.
func (s *server) wait(ctx context.Context) {
	for {
		if !s.waitUnconnected(ctx) {
			return
		}
		users := s.processes()
		if len(users) == 0 {
			if s.tryEnd() {
				return
			}
			continue
		}
		// Somebody is inside, in a container that has long closed its connection. Look again when one of them has gone,
		// or when a client came: there is nothing to look at before.
		if !s.waitExit(ctx, users[0]) {
			return
		}
	}
}

// waitUnconnected waits until no client has been connected for the idle time. False means: end now.
func (s *server) waitUnconnected(ctx context.Context) bool {
	for {
		timer := time.NewTimer(s.idle)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-s.quit:
			timer.Stop()
			return false
		case <-s.changed:
			timer.Stop()
		case <-timer.C:
			if s.connected() == 0 {
				return true
			}
		}
	}
}

func (s *server) connected() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clients
}

// tryEnd ends the session unless somebody connected or is about to start one here: whoever starts a session holds the
// lock on the directory, finds this one serving, and would be told so just before it ends.
func (s *server) tryEnd() bool {
	if !s.lock(0) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients > 0 {
		s.unlock()
		return false
	}
	s.ending = true
	return true
}

// waitExit waits until the process has ended. False means: end now.
func (s *server) waitExit(ctx context.Context, pid int) bool {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return true // gone already
	}
	gone := make(chan struct{})
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(fd)
		return true
	}
	go func() {
		defer close(gone)
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
		for {
			if _, err := unix.Poll(poll, -1); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	defer func() {
		unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		<-gone
		unix.Close(fd)
		unix.Close(wake)
	}()
	select {
	case <-ctx.Done():
		return false
	case <-s.quit:
		return false
	case <-gone:
		return true
	}
}

// processes lists the processes in the session's user namespace or below it, without the session's own and those it started,
// such as authorization helpers and what these started. Processes of other users cannot be inside.
func (s *server) processes() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		s.log.Warn("cannot look for users of the session", "error", err)
		return nil
	}
	var inside []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() || pid == s.parent {
			continue
		}
		if s.inside(filepath.Join("/proc", e.Name(), "ns/user")) && !ended(pid) && !descends(pid, os.Getpid()) {
			inside = append(inside, pid)
		}
	}
	return inside
}

// descends tells whether the process was started by another, or by one that it started.
func descends(pid, from int) bool {
	for pid > 1 && pid != from {
		pid = parentOf(pid)
	}
	return pid == from
}

// parentOf is the process that started pid, 0 where that cannot be told.
func parentOf(pid int) int {
	fields := stat(pid)
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(fields[1])
	return parent
}

// ended tells whether all that is left of the process is its exit code. In a container whose first process collects none, that
// stays for good.
func ended(pid int) bool {
	fields := stat(pid)
	return len(fields) > 17 && fields[0] == "Z" && fields[17] == "1" // one thread: the first may have ended before the others
}

// stat are the fields of /proc/PID/stat from the third on.
func stat(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // behind the name, which may hold anything
}

// inside climbs from the user namespace to its parents, which the kernel shows as far as they are ours or below ours.
func (s *server) inside(path string) bool {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	for err == nil {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Ino == s.nsInode {
			unix.Close(fd)
			return true
		}
		var parent int
		parent, err = unix.IoctlRetInt(fd, unix.NS_GET_PARENT)
		unix.Close(fd)
		fd = parent
	}
	return false
}
