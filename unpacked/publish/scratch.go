package publish

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const scratchPrefix = "flathub-scratch-"

var scratchNames = regexp.MustCompile("^" + scratchPrefix + "[0-9]+$")

// leftAge keeps a directory that was just made, and is not locked yet, from
// being taken for one that was left.
const leftAge = time.Minute

// newScratch makes a directory for temporary files in the directory in, "" for
// the system's. Those that killed processes left there are removed: a directory
// is locked as long as its process lives.
func newScratch(in string) (dir string, remove func() error, err error) {
	in = cmp.Or(in, os.TempDir())
	removeLeft(in)
	if dir, err = os.MkdirTemp(in, scratchPrefix); err != nil {
		return "", nil, fmt.Errorf("scratch directory: %w; name another one with --scratch", err)
	}
	lock, _ := lockScratch(dir) // without it, nobody else can lock it either
	return dir, func() error {
		lock.Close()
		return os.RemoveAll(dir)
	}, nil
}

// lockScratch fails where another process has the directory.
func lockScratch(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// removeLeft is a courtesy: what cannot be removed stays.
func removeLeft(in string) {
	entries, _ := os.ReadDir(in)
	for _, e := range entries {
		if !scratchNames.MatchString(e.Name()) {
			continue
		}
		st, err := e.Info()
		if err != nil || time.Since(st.ModTime()) < leftAge {
			continue
		}
		if s, ok := st.Sys().(*syscall.Stat_t); !ok || s.Uid != uint32(os.Geteuid()) {
			continue
		}
		dir := filepath.Join(in, e.Name())
		if lock, err := lockScratch(dir); err == nil {
			os.RemoveAll(dir)
			lock.Close()
		}
	}
}
