package limits

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrNotDelegated means that no part of the tree is the user's to limit anything in. The text says why.
var ErrNotDelegated = errors.New("no control group is delegated to you")

// Tree is where control groups are. The zero value is this machine's.
type Tree struct {
	Mount string // of version 2; "" = found
	Proc  string // "" = /proc
}

// groupPrefix begins the names of our groups; the process and its start follow.
const groupPrefix = "flatrun-"

// own finds the directory of the calling process's group, and the mount it is below.
func (t Tree) own() (dir, mount string, err error) {
	if t.Proc == "" {
		t.Proc = "/proc"
	}
	mount = t.Mount
	if mount == "" {
		mount = unifiedMount()
	}
	if mount == "" {
		return "", "", fmt.Errorf("%w: this host has control groups of version 1 only", ErrNotDelegated)
	}
	text, err := os.ReadFile(filepath.Join(t.Proc, "self/cgroup"))
	if err != nil {
		return "", "", fmt.Errorf("%w: %w", ErrNotDelegated, err)
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			if strings.Contains(path, "..") { // it lies outside of what a container sees
				return "", "", fmt.Errorf("%w: the group of this process is not visible here", ErrNotDelegated)
			}
			return filepath.Join(mount, path), mount, nil
		}
	}
	return "", "", fmt.Errorf("%w: this host has control groups of version 1 only", ErrNotDelegated)
}

// unifiedMount finds the mount of version 2: alone, or beside version 1.
func unifiedMount() string {
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir
		}
	}
	return ""
}

// places are the groups in which a child could be made, the nearest first, and what is wrong with the nearest otherwise.
func (t Tree) places(controllers []string) ([]string, error) {
	own, mount, err := t.own()
	if err != nil {
		return nil, err
	}
	var found []string
	reason := fmt.Errorf("%w: %s belongs to root", ErrNotDelegated, own)
	if missing := lacks(own, controllers); missing != "" { // on a host with both versions they are all in the first
		reason = fmt.Errorf("%w: %s has no controller %s", ErrNotDelegated, own, missing)
	}
	for dir := own; ; dir = filepath.Dir(dir) {
		if dir != own && !writable(filepath.Join(dir, "cgroup.procs")) {
			break // processes do not move across this one
		}
		if writable(dir) && writable(filepath.Join(dir, "cgroup.procs")) {
			if lacks(dir, controllers) == "" {
				found = append(found, dir)
			}
		}
		if dir == mount || len(dir) <= len(mount) {
			break
		}
	}
	if len(found) == 0 {
		return nil, reason
	}
	return found, nil
}

func writable(file string) bool {
	return unix.Faccessat(unix.AT_FDCWD, file, unix.W_OK, unix.AT_EACCESS) == nil
}

// lacks names the first controller that a group cannot pass on.
func lacks(dir string, controllers []string) string {
	text, _ := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	available := strings.Fields(string(text))
	for _, c := range controllers {
		if !slices.Contains(available, c) {
			return c
		}
	}
	return ""
}

// Enter makes a group with these limits and moves the calling process into it; the process's threads come along, and so
// will its children. The error matches ErrNotDelegated where the user may not.
func (l *Limits) Enter(t Tree) (dir string, err error) {
	settings, err := l.settings()
	if err != nil {
		return "", err
	}
	controllers, _ := l.Controllers()
	places, err := t.places(controllers)
	if err != nil {
		return "", err
	}
	for _, place := range places {
		sweep(place)
		if dir, err = makeIn(place, controllers, settings); err == nil {
			return dir, nil
		}
		if !errors.Is(err, errBusy) && !errors.Is(err, fs.ErrPermission) {
			return "", err
		}
	}
	return "", fmt.Errorf("%w: %w", ErrNotDelegated, err)
}

// errBusy is the kernel's rule that a group has either processes or children with controllers.
var errBusy = errors.New("other processes are in this control group")

// makeIn makes a child of place, moves in, and sets the limits. The move comes first: if the calling process is the only
// one in place, only then may place pass controllers on.
func makeIn(place string, controllers []string, settings []setting) (dir string, err error) {
	dir = filepath.Join(place, groupName())
	for range 3 { // in another PID namespace somebody may take ours for done, and remove it
		if err = os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("control group: %w", err)
		}
		if err = put(dir, "cgroup.procs", "0"); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
			break
		}
	}
	if err == nil {
		err = passOn(place, controllers)
	}
	for _, s := range settings {
		if err != nil {
			break
		}
		if err = put(dir, s.file, s.value); err != nil && s.optional && errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		put(place, "cgroup.procs", "0")
		os.Remove(dir)
		return "", err
	}
	return dir, nil
}

// passOn makes controllers available to the children of a group.
func passOn(dir string, controllers []string) error {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return fmt.Errorf("control group: %w", err)
	}
	have := strings.Fields(string(text))
	for _, c := range controllers {
		if slices.Contains(have, c) {
			continue
		}
		if err := put(dir, "cgroup.subtree_control", "+"+c); err != nil {
			return err
		}
	}
	return nil
}

func put(dir, file, value string) error {
	err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0o644)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%s: %w", dir, errBusy)
	}
	if err != nil {
		return fmt.Errorf("control group: write %q: %w", value, err)
	}
	return nil
}

// groupName is that of the calling process. Its number is the one that /proc knows it by, which is still the host's when
// the process has a PID namespace already: whoever sweeps looks there.
func groupName() string {
	pid, err := os.Readlink("/proc/self")
	if err != nil {
		pid = strconv.Itoa(os.Getpid())
	}
	return groupPrefix + pid + "-" + startTime(pid)
}

// startTime tells a process from a later one of the same number; "" if there is none.
func startTime(pid string) string {
	text, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return ""
	}
	// The name of the program, in parentheses, may have any characters; the start is the 20th field after it.
	_, after, _ := strings.Cut(string(text[max(0, strings.LastIndexByte(string(text), ')')):]), ") ")
	fields := strings.Fields(after)
	if len(fields) < 20 {
		return ""
	}
	return fields[19]
}

// sweep removes the groups of processes that have ended. The kernel keeps those in which others still run.
func sweep(place string) {
	entries, err := os.ReadDir(place)
	if err != nil {
		return
	}
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), groupPrefix)
		if !ok || !e.IsDir() {
			continue
		}
		pid, start, _ := strings.Cut(name, "-")
		if _, err := strconv.Atoi(pid); err == nil && startTime(pid) != start {
			syscall.Rmdir(filepath.Join(place, e.Name()))
		}
	}
}
