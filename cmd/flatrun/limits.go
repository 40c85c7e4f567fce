package main

import (
	"errors"
	"os"
	"strings"

	"github.com/flatrun/flatrun/runtime/limits"
)

// limitFlags bound what the command may use. They share a store, as they are
// carried out together.
func limitFlags(o *options) []flag {
	row := func(name, twin, arg, help string) flag {
		return flag{name: name, value: &limitValue{name: name, options: o}, twins: []string{twin}, arg: arg, help: help}
	}
	return []flag{
		row("memory", "MEMORY", "size", "memory limit in bytes, or with K, M, G"),
		row("memory-swap", "MEMORY_SWAP", "size", "limit of memory and swap together; -1 is unlimited swap"),
		row("memory-reservation", "MEMORY_RESERVATION", "size", "memory that is left to the container when the host runs short"),
		row("cpus", "CPUS", "n", "how many processors the container may use, such as 1.5"),
		row("cpu-shares", "CPU_SHARES", "n", "share of the processors where they are short (2 to 262144, usual 1024)"),
		row("cpuset-cpus", "CPUSET_CPUS", "list", "processors to run on, such as 0-3,8"),
		row("cpuset-mems", "CPUSET_MEMS", "list", "memory nodes to use"),
		row("pids-limit", "PIDS_LIMIT", "n", "how many processes and threads there may be; -1 is unlimited"),
		row("blkio-weight", "BLKIO_WEIGHT", "n", "share of block devices (10 to 1000)"),
		{name: "apply-cgroups", value: &o.LimitsFile, twins: []string{"APPLY_CGROUPS"}, arg: "file", help: "read limits from a TOML file with tables memory, cpu, pids and blockIO"},
		{name: "blkio-weight-device", value: &o.RefusedList, twins: []string{"BLKIO_WEIGHT_DEVICE"}, hidden: true, refuse: "weights of single devices are not set; use --blkio-weight"},
		{name: "oom-kill-disable", value: &o.Refused, twins: []string{"OOM_KILL_DISABLE"}, hidden: true, refuse: "control groups of version 2 cannot; leave it out"},
	}
}

// limitValue is the value of one limit's flag.
type limitValue struct {
	name    string
	text    string
	options *options
}

func (v *limitValue) Set(text string) error {
	o := v.options
	if v.text == "" {
		o.LimitFlags = append(o.LimitFlags, "--"+v.name)
	}
	v.text = text
	return o.Limits.Set(v.name, text)
}
func (v *limitValue) String() string { return v.text }
func (v *limitValue) Type() string   { return v.name }

// readLimits completes the limits before anything is started.
func (c *container) readLimits() error {
	o := c.options
	if o.LimitsFile != "" {
		text, err := os.ReadFile(o.LimitsFile)
		if err != nil {
			return fatal("--apply-cgroups %s: %w", o.LimitsFile, err.(*os.PathError).Err)
		}
		if err := o.Limits.ParseFile(text); err != nil {
			return fatal("--apply-cgroups %s: %w", o.LimitsFile, err)
		}
		o.LimitFlags = append(o.LimitFlags, "--apply-cgroups")
	}
	if _, err := o.Limits.Controllers(); err != nil {
		return fatal("%s: %w", strings.Join(o.LimitFlags, ", "), err)
	}
	return nil
}

// enterLimits moves this process, which becomes the command, into a control
// group. The session that may just have been started, and an init, stay outside.
func (c *container) enterLimits() error {
	o := c.options
	if o.Limits.Empty() {
		return nil
	}
	dir, err := o.Limits.Enter(limits.Tree{})
	if errors.Is(err, limits.ErrNotDelegated) && (c.site == nil || c.site.SystemdCgroups) {
		if scope, scopeErr := o.Limits.Scope(limits.Tree{}); scopeErr == nil || !errors.Is(scopeErr, limits.ErrNotDelegated) {
			dir, err = scope, scopeErr
		}
	}
	switch {
	case errors.Is(err, limits.ErrNotDelegated):
		return fatal("%s: resource limits need a delegated cgroup: %w: ask the batch system for the limit, or the administrator for user@.service with Delegate=yes", strings.Join(o.LimitFlags, ", "), err)
	case err != nil:
		return fatal("%s: %w", strings.Join(o.LimitFlags, ", "), err)
	}
	c.log.debugf("Limits are set on %s", dir)
	c.cgroup = dir
	return nil
}
