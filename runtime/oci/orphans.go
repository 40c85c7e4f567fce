package oci

import (
	"os"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// adopt makes this process the parent of what a container's first process leaves behind when it ends in a PID namespace
// that it shares with the host. Without a control group nothing else would know whose they were.
func adopt() {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		logrus.Warnf("adopt orphans: %v", err)
	}
}

// reap waits for adopted children that have ended, but leaves the container's process to its own Wait.
func reap(process *libcontainer.Process) {
	own, err := process.Pid()
	if err != nil {
		return
	}
	parents, _ := processTable()
	for pid, parent := range parents {
		if parent == os.Getpid() && pid != own {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
		}
	}
}

// killOrphans ends the adopted and their descendants, round after round until none is left.
func killOrphans() {
	for {
		parents, err := processTable()
		if err != nil {
			return
		}
		for _, pid := range descendants(parents, map[int]bool{os.Getpid(): true}) {
			if pid != os.Getpid() {
				_ = signalProcess(pid, unix.SIGKILL)
			}
		}
		if _, err := unix.Wait4(-1, nil, 0, nil); err != nil {
			return // no children
		}
	}
}
