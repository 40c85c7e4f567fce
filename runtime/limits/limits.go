// Package limits puts a process into a control group of its own that bounds memory, processors and processes.
//
// An ordinary user can do that where a part of the tree of control groups (version 2) was delegated to him: the directory
// of the group he is in, or of one above it, is his. Group makes a child there. Where nothing is delegated, the user's
// systemd may still make a scope: Scope asks for it.
//
// The process becomes the command of a container and nobody waits for its end, so the group stays behind, empty. It
// carries the process in its name, and whoever makes the next one in the same place removes those that are done.
package limits

import (
	"fmt"
	"strconv"
)

// Limits are what may be bounded. A nil value bounds nothing.
type Limits struct {
	Memory            *int64 // bytes
	MemorySwap        *int64 // bytes of memory and swap together, as Docker has it; -1 = swap without end
	MemoryReservation *int64 // bytes that are left to the group when memory is short
	CPUs              *float64
	CPUShares         *uint64 // 2 to 262144, 1024 is the usual share
	CPUSetCPUs        string  // such as 0-3,8
	CPUSetMems        string
	Pids              *int64  // processes and threads; -1 = no end
	BlkioWeight       *uint64 // 10 to 1000
}

// Empty reports whether nothing is asked for.
func (l *Limits) Empty() bool { return *l == Limits{} }

// setting is a file of a control group and what is written into it.
type setting struct {
	controller, file, value string
	optional                bool // the kernel may lack the file
}

// cpuPeriod is the period that quotas are counted in, in microseconds: the kernel's and Docker's own.
const cpuPeriod = 100_000

// settings translates limits for control groups of version 2.
func (l *Limits) settings() ([]setting, error) {
	var all []setting
	add := func(controller, file, value string) { all = append(all, setting{controller, file, value, false}) }
	if l.Memory != nil {
		add("memory", "memory.max", strconv.FormatInt(*l.Memory, 10))
	}
	if l.MemorySwap != nil {
		swap, err := l.swap()
		if err != nil {
			return nil, err
		}
		all = append(all, setting{"memory", "memory.swap.max", swap, true}) // absent where swap is not accounted
	}
	if l.MemoryReservation != nil {
		add("memory", "memory.low", strconv.FormatInt(*l.MemoryReservation, 10))
	}
	if l.CPUs != nil {
		add("cpu", "cpu.max", fmt.Sprintf("%d %d", int64(*l.CPUs*cpuPeriod), cpuPeriod))
	}
	if l.CPUShares != nil {
		add("cpu", "cpu.weight", strconv.FormatUint(weight(*l.CPUShares), 10))
	}
	if l.CPUSetCPUs != "" {
		add("cpuset", "cpuset.cpus", l.CPUSetCPUs)
	}
	if l.CPUSetMems != "" {
		add("cpuset", "cpuset.mems", l.CPUSetMems)
	}
	if l.Pids != nil {
		add("pids", "pids.max", endless(*l.Pids))
	}
	if l.BlkioWeight != nil {
		add("io", "io.weight", "default "+strconv.FormatUint(ioWeight(*l.BlkioWeight), 10))
	}
	return all, nil
}

// swap is what remains for swap of the sum with memory.
func (l *Limits) swap() (string, error) {
	switch {
	case *l.MemorySwap == -1:
		return "max", nil
	case l.Memory == nil:
		return "", fmt.Errorf("memory and swap are bounded together: say the bound of memory too")
	case *l.MemorySwap < *l.Memory:
		return "", fmt.Errorf("the bound of memory and swap together is less than that of memory")
	}
	return strconv.FormatInt(*l.MemorySwap-*l.Memory, 10), nil
}

func endless(n int64) string {
	if n < 0 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

// weight turns shares of version 1, of which 1024 are usual, into a weight of version 2, as runc does.
func weight(shares uint64) uint64 {
	return 1 + (min(max(shares, 2), 262144)-2)*9999/262142
}

// ioWeight does the same for block devices: 10 to 1000 becomes 1 to 10000.
func ioWeight(blkio uint64) uint64 {
	return 1 + (min(max(blkio, 10), 1000)-10)*9999/990
}

// Controllers are those that the limits need, each once.
func (l *Limits) Controllers() ([]string, error) {
	all, err := l.settings()
	var names []string
	for i, s := range all {
		if i == 0 || all[i-1].controller != s.controller {
			names = append(names, s.controller)
		}
	}
	return names, err
}
