package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/pflag"
)

func (a *app) update(f *pflag.FlagSet) func([]string) error {
	limits := &specs.LinuxResources{Memory: &specs.LinuxMemory{}, CPU: &specs.LinuxCPU{}, Pids: &specs.LinuxPids{}}
	from := f.StringP("resources", "r", "", "JSON `FILE` of the specification's resources, - for standard input")
	f.Var(number(&limits.Memory.Limit, parseBytes), "memory", "limit in bytes, or with k, m, g; -1 for none")
	f.Var(number(&limits.Memory.Reservation, parseBytes), "memory-reservation", "soft limit")
	f.Var(number(&limits.Memory.Swap, parseBytes), "memory-swap", "limit of memory and swap")
	f.Var(number(&limits.CPU.Quota, plain), "cpu-quota", "microseconds of each period")
	f.Var(number(&limits.CPU.Period, unsigned), "cpu-period", "length of a period in microseconds")
	f.Var(number(&limits.CPU.Shares, unsigned), "cpu-share", "relative weight")
	f.Var(number(&limits.Pids.Limit, plain), "pids-limit", "number of processes")
	f.StringVar(&limits.CPU.Cpus, "cpuset-cpus", "", "processors to run on")
	f.StringVar(&limits.CPU.Mems, "cpuset-mems", "", "memory nodes to use")
	return func(args []string) error {
		if *from != "" {
			var err error
			if limits, err = a.readResources(*from); err != nil {
				return err
			}
		}
		return a.runtime.Update(args[0], limits)
	}
}

func (a *app) readResources(name string) (*specs.LinuxResources, error) {
	in := a.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("--resources: %w", err)
		}
		defer f.Close()
		in = f
	}
	limits := &specs.LinuxResources{}
	if err := json.NewDecoder(io.LimitReader(in, 1<<20)).Decode(limits); err != nil {
		return nil, fmt.Errorf("--resources %s: %w", name, err)
	}
	return limits, nil
}

// optional is a flag whose absence differs from any value.
type optional[T any] struct {
	to    **T
	parse func(string) (T, error)
}

func number[T any](to **T, parse func(string) (T, error)) *optional[T] {
	return &optional[T]{to: to, parse: parse}
}

func (o *optional[T]) String() string { return "" }
func (o *optional[T]) Type() string   { return "N" }

func (o *optional[T]) Set(text string) error {
	value, err := o.parse(text)
	if err == nil {
		*o.to = &value
	}
	return err
}

func plain(text string) (int64, error)     { return strconv.ParseInt(text, 10, 64) }
func unsigned(text string) (uint64, error) { return strconv.ParseUint(text, 10, 64) }

// parseBytes reads 512, 64k, 100M, 2g, with or without a b behind.
func parseBytes(text string) (int64, error) {
	digits := strings.TrimSuffix(strings.ToLower(text), "b")
	shift := 0
	if i := strings.IndexAny(digits, "kmgt"); i >= 0 && i == len(digits)-1 {
		shift = 10 * (1 + strings.IndexByte("kmgt", digits[i]))
		digits = digits[:i]
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n<<shift>>shift != n {
		return 0, fmt.Errorf("%q is not a number of bytes", text)
	}
	return n << shift, nil
}
