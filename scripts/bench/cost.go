package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// cost is what a run of a program took.
type cost struct {
	took     time.Duration
	cpu      time.Duration // of all cores
	registry time.Duration // the registry's, on its behalf
	peak     int64         // bytes resident
}

func (p *publisher) flathub(args ...string) (cost, error) {
	return p.measure(filepath.Join(p.bin, "flathub"), args...)
}

// measure runs a program; its output is dropped, failure shows it.
func (p *publisher) measure(name string, args ...string) (c cost, err error) {
	before, err := processorTime(p.registryPID)
	if err != nil {
		return c, err
	}
	cmd := exec.Command(name, args...)
	start := time.Now()
	out, err := cmd.CombinedOutput()
	c.took = time.Since(start)
	if err != nil {
		return c, fmt.Errorf("%s %s: %w: %s", filepath.Base(name), args[0], err, out)
	}
	c.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.peak = usage.Maxrss << 10
	}
	after, err := processorTime(p.registryPID)
	c.registry = after - before
	return c, err
}

// processorTime is what a process has used so far, in the kernel's hundredths of a second.
func processorTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 13 {
		return 0, errors.New("/proc/PID/stat is short")
	}
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond, err
}

// contestant is one of several programs for the same image.
type contestant struct {
	name string
	once func() (cost, error)
}

// contest runs them in turn, rounds times, and prints medians, with ratios of time to the first.
func contest(rounds int, all ...contestant) error {
	costs := make([][]cost, len(all))
	for range rounds {
		for i, c := range all {
			once, err := c.once()
			if err != nil {
				return err
			}
			costs[i] = append(costs[i], once)
		}
	}
	middle := func(i int, of func(cost) int64) int64 {
		var all []int64
		for _, c := range costs[i] {
			all = append(all, of(c))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	took := func(c cost) int64 { return int64(c.took) }
	cpu := func(c cost) int64 { return int64(c.cpu) }
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%d rounds, medians\ts\tx\ts of processors\tx\tof the registry\tpeak MiB\n", rounds)
	for i, c := range all {
		registry := func(c cost) int64 { return int64(c.registry) }
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.0f\n", c.name,
			time.Duration(middle(i, took)).Seconds(), float64(middle(i, took))/float64(middle(0, took)),
			time.Duration(middle(i, cpu)).Seconds(), float64(middle(i, cpu))/float64(middle(0, cpu)),
			time.Duration(middle(i, registry)).Seconds(), mib(middle(i, func(c cost) int64 { return c.peak })))
	}
	return w.Flush()
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
