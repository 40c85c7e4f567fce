package oci

import (
	"errors"
	"fmt"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runc/types"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// errNoCgroup is why nothing here works in most containers of ordinary users.
var errNoCgroup = errors.New("it has no control group: have one delegated to you, or start it as root")

// controlled finds a container that has a control group and runs.
func (r *Runtime) controlled(id string) (*libcontainer.Container, error) {
	c, err := r.load(id)
	if err != nil {
		return nil, err
	}
	status, err := c.Status()
	switch {
	case err == nil && status == libcontainer.Stopped:
		err = libcontainer.ErrNotRunning
	case err == nil && !hasCgroup(c):
		err = errNoCgroup
	}
	if err != nil {
		return nil, fmt.Errorf("container %q: %w", id, err)
	}
	return c, nil
}

// Pause stops all processes of a container until Resume.
func (r *Runtime) Pause(id string) error {
	return r.control(id, (*libcontainer.Container).Pause)
}

// Resume lets a paused container go on.
func (r *Runtime) Resume(id string) error {
	return r.control(id, (*libcontainer.Container).Resume)
}

func (r *Runtime) control(id string, do func(*libcontainer.Container) error) error {
	c, err := r.controlled(id)
	if err != nil {
		return err
	}
	if err := do(c); err != nil {
		return fmt.Errorf("container %q: %w", id, err)
	}
	return nil
}

// Update changes a running container's limits; what limits does not name stays as it is.
func (r *Runtime) Update(id string, limits *specs.LinuxResources) error {
	return r.control(id, func(c *libcontainer.Container) error {
		limits.Devices = nil // Set would apply them from nothing; they are fixed at the start
		converted, err := specconv.CreateCgroupConfig(&specconv.CreateOpts{CgroupName: id, Spec: &specs.Spec{Linux: &specs.Linux{Resources: limits}}}, nil)
		if err != nil {
			return err
		}
		config := c.Config()
		own := *config.Cgroups // Set compares with, and on failure goes back to, the container's own
		merged := *own.Resources
		merge(&merged, converted.Resources)
		own.Resources = &merged
		own.SkipDevices = true
		config.Cgroups = &own
		return c.Set(config)
	})
}

// merge sets in to what limits names.
func merge(to, limits *cgroups.Resources) {
	set(&to.Memory, limits.Memory)
	set(&to.MemoryReservation, limits.MemoryReservation)
	set(&to.MemorySwap, limits.MemorySwap)
	set(&to.CpuShares, limits.CpuShares)
	set(&to.CpuWeight, limits.CpuWeight)
	set(&to.CpuQuota, limits.CpuQuota)
	set(&to.CpuPeriod, limits.CpuPeriod)
	set(&to.CpuBurst, limits.CpuBurst)
	set(&to.CpuRtRuntime, limits.CpuRtRuntime)
	set(&to.CpuRtPeriod, limits.CpuRtPeriod)
	set(&to.CPUIdle, limits.CPUIdle)
	set(&to.CpusetCpus, limits.CpusetCpus)
	set(&to.CpusetMems, limits.CpusetMems)
	set(&to.PidsLimit, limits.PidsLimit)
	set(&to.BlkioWeight, limits.BlkioWeight)
	if limits.Unified != nil {
		to.Unified = limits.Unified
	}
}

func set[T comparable](to *T, value T) {
	var zero T
	if value != zero {
		*to = value
	}
}

// Stats reads a running container's use of processors, memory and process numbers.
func (r *Runtime) Stats(id string) (*types.Event, error) {
	c, err := r.controlled(id)
	if err != nil {
		return nil, err
	}
	stats, err := c.Stats()
	if err != nil {
		return nil, fmt.Errorf("container %q: %w", id, err)
	}
	return &types.Event{Type: "stats", ID: id, Data: convertStats(stats.CgroupStats)}, nil
}

func convertStats(s *cgroups.Stats) *types.Stats {
	out := &types.Stats{}
	out.CPU.Usage.Total = s.CpuStats.CpuUsage.TotalUsage
	out.CPU.Usage.User = s.CpuStats.CpuUsage.UsageInUsermode
	out.CPU.Usage.Kernel = s.CpuStats.CpuUsage.UsageInKernelmode
	out.CPU.Throttling.Periods = s.CpuStats.ThrottlingData.Periods
	out.CPU.Throttling.ThrottledPeriods = s.CpuStats.ThrottlingData.ThrottledPeriods
	out.CPU.Throttling.ThrottledTime = s.CpuStats.ThrottlingData.ThrottledTime
	out.Memory.Cache = s.MemoryStats.Cache
	out.Memory.Raw = s.MemoryStats.Stats
	out.Memory.Usage = memoryEntry(s.MemoryStats.Usage)
	out.Memory.Swap = memoryEntry(s.MemoryStats.SwapUsage)
	out.Pids.Current, out.Pids.Limit = s.PidsStats.Current, s.PidsStats.Limit
	return out
}

func memoryEntry(d cgroups.MemoryData) types.MemoryEntry {
	return types.MemoryEntry{Limit: d.Limit, Usage: d.Usage, Max: d.MaxUsage, Failcnt: d.Failcnt}
}
