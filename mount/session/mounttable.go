package session

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// watchMount closes left when the mount that is at dir now has left the mount table of this process. stop ends the watch.
func watchMount(dir string) (left <-chan struct{}, stop func()) {
	gone, end := make(chan struct{}), make(chan struct{})
	stop = sync.OnceFunc(func() { close(end) })
	id, ok := mountID(dir)
	table, err := os.Open("/proc/self/mountinfo")
	if !ok || err != nil {
		return nil, stop // an old kernel: the end of the connection has to do
	}
	go func() {
		defer table.Close()
		for inTable(id) {
			// The kernel reports a changed table as an exceptional condition.
			poll := []unix.PollFd{{Fd: int32(table.Fd()), Events: unix.POLLPRI}}
			unix.Poll(poll, 10_000)
			select {
			case <-end:
				return
			default:
			}
		}
		close(gone)
	}()
	return gone, stop
}

// mountID is the number of the mount at dir in the mount table. It is not asked of the file system.
func mountID(dir string) (uint64, bool) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, dir, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &st)
	return st.Mnt_id, err == nil && st.Mask&unix.STATX_MNT_ID != 0
}

// inTable tells whether this process's mount table has the mount. When in doubt it has.
func inTable(id uint64) bool {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return true
	}
	defer f.Close()
	prefix := strconv.FormatUint(id, 10) + " "
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), prefix) {
			return true
		}
	}
	return lines.Err() != nil
}
