package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/runtime/instance"
)

// logStream is a file that an instance writes to, and where it is shown.
type logStream struct {
	*os.File
	to io.Writer
}

func runInstanceLogs(p *program, o *options, args []string) error {
	store, err := p.instances(o)
	if err != nil {
		return err
	}
	name := args[0]
	if !instance.ValidName(name) {
		return fatal("%s is not a valid instance name", name)
	}
	lives := watchLife(store, name)
	defer unix.Close(lives)
	streams := openLogs(store, name, p.stdout)
	if len(streams) == 0 {
		return fatal("no logs of an instance with name %s: it was never started, or was stopped; see %s instance list", name, strings.TrimSpace(p.name))
	}
	for _, s := range streams {
		defer s.Close()
		if err := seekLines(s.File, o.Stop.Tail); err != nil {
			return fatal("logs of instance %s: %w", name, err)
		}
	}
	for {
		// Asked before the files are read: what is written last is shown, too.
		ended := lives < 0 || hasEnded(lives)
		for _, s := range streams {
			if _, err := io.Copy(s.to, s); err != nil {
				return fatal("logs of instance %s: %w", name, err)
			}
		}
		if ended || !o.Stop.Follow {
			return nil
		}
	}
}

// openLogs opens what there is of an instance's output.
func openLogs(store *instance.Store, name string, stdout io.Writer) (streams []logStream) {
	out, errs := store.LogPaths(name)
	if state, err := store.Get(name); err == nil {
		out, errs = state.LogOut, state.LogErr
	}
	for _, s := range []struct {
		file string
		to   io.Writer
	}{{out, stdout}, {errs, os.Stderr}} {
		if f, err := os.Open(s.file); err == nil {
			streams = append(streams, logStream{f, s.to})
		}
	}
	return streams
}

// watchLife is a descriptor of an instance's process 1, which ends after all the others; -1 if it does not live.
func watchLife(store *instance.Store, name string) int {
	state, err := store.Get(name)
	if err != nil {
		return -1
	}
	fd, err := unix.PidfdOpen(state.PID, 0)
	if err != nil {
		return -1
	}
	// The process id may have become another's before there was a descriptor.
	if now, err := store.Get(name); err != nil || now.PID != state.PID {
		unix.Close(fd)
		return -1
	}
	return fd
}

// logInterval, in milliseconds, is how often a followed log is looked at: often enough for a reader, and works with
// files on any file system.
const logInterval = 200

// hasEnded waits for the end of a process for so long.
func hasEnded(pidfd int) bool {
	n, _ := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, logInterval)
	return n > 0
}

// seekLines sets the offset of a file to where its last n lines begin; a negative n is all of them.
func seekLines(f *os.File, n int) error {
	if n < 0 {
		return nil
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || n == 0 {
		return err
	}
	buf := make([]byte, 64<<10)
	for from := end; from > 0; {
		block := buf[:min(int64(len(buf)), from)]
		from -= int64(len(block))
		if _, err := f.ReadAt(block, from); err != nil {
			return fmt.Errorf("read %s: %w", f.Name(), err)
		}
		if from+int64(len(block)) == end {
			block = bytes.TrimSuffix(block, []byte("\n")) // ends the last line, begins none
		}
		for i := bytes.LastIndexByte(block, '\n'); i >= 0; i = bytes.LastIndexByte(block, '\n') {
			if n--; n == 0 {
				_, err := f.Seek(from+int64(i)+1, io.SeekStart)
				return err
			}
			block = block[:i]
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}
