package oci

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
)

// Processes are the numbers of a container's processes in the caller's PID namespace.
func (r *Runtime) Processes(id string) ([]int, error) {
	c, err := r.load(id)
	if err != nil {
		return nil, err
	}
	pids, err := members(c)
	if err != nil {
		return nil, fmt.Errorf("container %q: %w", id, err)
	}
	return pids, nil
}

// hasCgroup reports whether the container has a control group of its own, so that the kernel keeps the list.
func hasCgroup(c *libcontainer.Container) bool {
	state, err := c.State()
	if err != nil {
		return false
	}
	for _, path := range state.CgroupPaths {
		if _, err := os.Stat(path); path != "" && err == nil {
			return true
		}
	}
	return false
}

// members asks the control group, or else the process table: a process belongs to a container if it has its mount
// namespace, as those have that exec started, or if its parent belongs to it.
func members(c *libcontainer.Container) ([]int, error) {
	if hasCgroup(c) {
		return c.Processes()
	}
	state, err := c.State()
	if err != nil {
		return nil, err
	}
	if status, err := c.Status(); err != nil || status == libcontainer.Stopped {
		return []int{}, err
	}
	init := state.InitProcessPid
	namespace := ""
	if state.Config.Namespaces.IsPrivate(configs.NEWNS) {
		// Fails while the process is still libcontainer's own, which hides from ptrace; it is alone then.
		namespace, _ = os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", init))
	}
	parents, err := processTable()
	if err != nil {
		return nil, err
	}
	belongs := map[int]bool{init: true}
	for pid := range parents {
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid)); err == nil && ns == namespace {
			belongs[pid] = true
		}
	}
	return descendants(parents, belongs), nil
}

// descendants lists the processes whose line of parents reaches one of roots, in order of their numbers.
func descendants(parents map[int]int, roots map[int]bool) []int {
	out := []int{}
	for pid := range parents {
		// A table read while processes come and go may hold a circle, so the line is followed only so far.
		for p, steps := pid, 0; p > 0 && steps <= len(parents); p, steps = parents[p], steps+1 {
			if roots[p] {
				out = append(out, pid)
				break
			}
		}
	}
	slices.Sort(out)
	return out
}

// processTable maps each process to its parent.
func processTable() (map[int]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	parents := make(map[int]int, len(entries))
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // ended meanwhile
		}
		// pid (name) state ppid …; the name may hold anything, parentheses too.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) > 1 {
			parents[pid], _ = strconv.Atoi(string(fields[1]))
		}
	}
	return parents, nil
}
