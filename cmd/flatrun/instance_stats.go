package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/runtime/instance"
)

// usage is what an instance uses, added up over the processes of its PID
// namespace: that needs no control group.
type usage struct {
	Instance string  `json:"instance"`
	PID      int     `json:"pid"`
	CPU      float64 `json:"cpu_percent"` // of one processor, since the sample before
	Seconds  float64 `json:"cpu_seconds"` // of the processes that live
	Memory   int64   `json:"memory_bytes"`
	Limit    int64   `json:"memory_limit_bytes"` // of the machine
	Read     int64   `json:"read_bytes"`
	Written  int64   `json:"written_bytes"`
	PIDs     int     `json:"pids"`

	taken time.Time
}

// clockTick is USER_HZ, which is 100 on every architecture that Go runs on.
const clockTick = 100

func runInstanceStats(p *program, o *options, args []string) error {
	store, err := p.instances(o)
	if err != nil {
		return err
	}
	var before []usage // a share of the processor takes two looks
	for {
		states, err := store.List(pattern(args))
		if err != nil {
			return err
		}
		if len(states) == 0 {
			return fatal("%w", instance.ErrNotFound)
		}
		now := measureAll(states, before)
		if before != nil {
			if err := p.printUsage(o, now); err != nil || o.Stop.NoStream {
				return err
			}
		}
		before = now
		time.Sleep(time.Second)
	}
}

// measureAll measures instances, and what they have used of the processor since
// they were measured before.
func measureAll(states []instance.State, before []usage) []usage {
	list := make([]usage, len(states))
	for i, s := range states {
		list[i] = measure(s)
		list[i].taken = time.Now()
		for _, b := range before {
			if b.PID == s.PID {
				// Processes that have ended meanwhile take their share with them.
				list[i].CPU = max(0, 100*(list[i].Seconds-b.Seconds)/list[i].taken.Sub(b.taken).Seconds())
			}
		}
	}
	return list
}

func (p *program) printUsage(o *options, list []usage) error {
	if o.JSON {
		return p.printDocument(map[string]any{"instances": list})
	}
	w := tabwriter.NewWriter(p.stdout, 0, 8, 4, ' ', 0)
	fmt.Fprintln(w, "INSTANCE NAME\tCPU USAGE\tMEM USAGE / LIMIT\tMEM %\tBLOCK I/O\tPIDS")
	for _, u := range list {
		fmt.Fprintf(w, "%s\t%.2f%%\t%s / %s\t%.2f%%\t%s / %s\t%d\n", u.Instance, u.CPU, binary(u.Memory), binary(u.Limit),
			100*float64(u.Memory)/float64(max(u.Limit, 1)), binary(u.Read), binary(u.Written), u.PIDs)
	}
	return w.Flush()
}

// measure adds up the processes that are in the instance's PID namespace.
func measure(s instance.State) usage {
	u := usage{Instance: s.Name, PID: s.PID}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		u.Limit = int64(info.Totalram) * int64(info.Unit)
	}
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", s.PID))
	if err != nil {
		return u
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		if ns, err := os.Readlink(dir + "/ns/pid"); err == nil && ns == namespace {
			u.add(dir)
		}
	}
	return u
}

// add counts one process; one that ends meanwhile counts for nothing.
func (u *usage) add(dir string) {
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return
	}
	u.PIDs++
	// The name, in parentheses, may have blanks and parentheses itself.
	if i := strings.LastIndexByte(string(stat), ')'); i > 0 {
		if fields := strings.Fields(string(stat[i+1:])); len(fields) > 21 {
			user, _ := strconv.ParseFloat(fields[11], 64)
			system, _ := strconv.ParseFloat(fields[12], 64)
			u.Seconds += (user + system) / clockTick
		}
	}
	// What is shared counts in parts, where the kernel tells.
	u.Memory += 1024 * max(keyed(dir+"/smaps_rollup", "Pss:"), 0)
	u.Read += keyed(dir+"/io", "read_bytes:")
	u.Written += keyed(dir+"/io", "write_bytes:")
}

// keyed reads the number behind a word at the beginning of a line, 0 if there is none.
func keyed(file, key string) int64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == key {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			return n
		}
	}
	return 0
}

// binary writes a number of bytes as people read it.
func binary(n int64) string {
	const units = "KMGT"
	if n < 1024 {
		return fmt.Sprintf("%dB", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.2f%ciB", value, units[unit])
}
