package session

import (
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/mount/fusefs"
)

// measureSelf adds what the server itself takes.
func measureSelf(s *enter.Status) {
	s.Goroutines = runtime.NumGoroutine()
	if entries, err := os.ReadDir("/proc/self/fd"); err == nil {
		s.Descriptors = len(entries) - 1 // without the one that reads the directory
	}
	b, err := os.ReadFile("/proc/self/statm")
	if fields := strings.Fields(string(b)); err == nil && len(fields) > 1 {
		pages, _ := strconv.ParseInt(fields[1], 10, 64)
		s.Memory = pages * int64(os.Getpagesize())
	}
}

// slowest lists the objects that readers waited for the longest.
func slowest(fs *fusefs.FS) (all []enter.SlowObject) {
	for _, o := range fs.Slowest() {
		all = append(all, enter.SlowObject{Object: o.Object.String(), Path: o.Path, Size: o.Size, Took: o.Took, Time: o.Time})
	}
	return all
}
