package instance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/enter"
)

// Shared is a container that the processes of one launcher share: the first of them makes it, the others enter it, and
// whoever comes when all have ended makes it anew. It has no process of its own; those in it keep its namespaces. They are
// listed in a file, which is locked while somebody makes the container or looks who is in it.
type Shared struct{ file *os.File }

// maxMembers bounds the list. Any one of those in the container serves to enter it.
const maxMembers = 64

// OpenShared opens and locks the file of a key, which consists of characters of a file name, in the directory of the
// session that the processes join: it removes the files at its end, and its end comes when all have ended. The lock ends
// with Close, or with execve.
func OpenShared(ctx context.Context, session, key string) (*Shared, error) {
	dir := filepath.Join(session, "share")
	path := filepath.Join(dir, key+".json")
	for ctx.Err() == nil {
		if err := enter.MakeDir(session); err != nil {
			return nil, err
		}
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("shared container: %w", err)
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("shared container: %w", err)
		}
		if waitLock(ctx, f) && samePath(f, path) {
			return &Shared{f}, nil
		}
		f.Close()
	}
	return nil, fmt.Errorf("wait for the process that makes the shared container: %w", context.Cause(ctx))
}

// InheritShared is the file of OpenShared in a process that has been started anew with the descriptor.
func InheritShared(fd int) *Shared { return &Shared{os.NewFile(uintptr(fd), "shared container")} }

// FD is the file's descriptor.
func (s *Shared) FD() int { return int(s.file.Fd()) }

// Close ends the lock, if no other process has inherited it.
func (s *Shared) Close() error { return s.file.Close() }

// Find returns the container with the process id of somebody in it, and lists self as one more that is about to enter.
// Without anybody, ok is false, and the caller is the one to make it.
func (s *Shared) Find(self int) (state State, ok bool, err error) {
	if state, err = Read(s.file); err != nil {
		return State{}, false, nil // new, or its maker was killed over it
	}
	members := living(state)
	if len(members) == 0 {
		return State{}, false, nil
	}
	state.PID = members[0].PID
	if state.Members = members; len(members) < maxMembers && self != 0 {
		state.Members = append(members, NewMember(self))
	}
	return state, true, s.write(state)
}

// Store says what was made, which others enter by way of the member.
func (s *Shared) Store(state State, m Member, mounts uint64) error {
	state.Mounts, state.Members = mounts, []Member{m}
	return s.write(state)
}

// NewMember describes a process by its id.
func NewMember(pid int) Member { return Member{pid, started(pid)} }

func (s *Shared) write(state State) error {
	if err := s.file.Truncate(0); err != nil {
		return err
	}
	return Write(s.file, state)
}

// living are the members that are in the container's mount namespace.
func living(state State) (members []Member) {
	for _, m := range state.Members {
		var st unix.Stat_t
		if m.Started != 0 && started(m.PID) == m.Started && unix.Stat(fmt.Sprintf("/proc/%d/ns/mnt", m.PID), &st) == nil && st.Ino == state.Mounts {
			members = append(members, m)
		}
	}
	return members
}

// started is the time since boot, in ticks, at which a process was started: with the id it names the process for good.
func started(pid int) (ticks uint64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name, in parentheses, may have blanks and parentheses itself.
	if fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:])); len(fields) > 19 {
		fmt.Sscan(fields[19], &ticks)
	}
	return ticks
}

// waitLock waits without a thread of its own per waiter, and no longer than ctx lives.
func waitLock(ctx context.Context, f *os.File) bool {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err == nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
}

func samePath(f *os.File, path string) bool {
	opened, err1 := f.Stat()
	now, err2 := os.Lstat(path)
	return err1 == nil && err2 == nil && os.SameFile(opened, now)
}
