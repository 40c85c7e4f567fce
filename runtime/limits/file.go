package limits

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseFile reads the resources of --apply-cgroups: the part of TOML that such files are written in, which is tables of
// numbers and strings. Keys are those of the OCI runtime specification, as Apptainer has them:
//
//	[memory]
//	limit = 1073741824
//	[cpu]
//	shares = 512
//	quota = 150000
//	period = 100000
//	cpus = "0-3"
//	[pids]
//	limit = 100
//	[blockIO]
//	weight = 500
//
// What cannot be done is an error rather than left out. Limits that are set already are stronger than the file's.
func (l *Limits) ParseFile(text []byte) error {
	var file resources
	table := ""
	for n, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(stripComment(line))
		if line == "" {
			continue
		}
		if strings.HasPrefix(line, "[") {
			name, ok := strings.CutSuffix(line[1:], "]")
			if !ok || strings.ContainsAny(name, "[]\"") {
				return fmt.Errorf("line %d: %s: only plain tables are understood, such as [memory]", n+1, line)
			}
			table = strings.TrimSpace(name)
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return fmt.Errorf("line %d: %s: want key = value", n+1, line)
		}
		name := strings.TrimSpace(key)
		if table != "" {
			name = table + "." + name
		}
		if err := file.set(name, strings.TrimSpace(value)); err != nil {
			return fmt.Errorf("line %d: %s: %w", n+1, name, err)
		}
	}
	return l.merge(&file)
}

// resources is what a file says.
type resources struct {
	Limits
	quota, period *int64
}

func (r *resources) set(name, value string) error {
	number, text, err := scalar(value)
	if err != nil {
		return err
	}
	limits := map[string]string{
		"memory.limit": "memory", "memory.swap": "memory-swap", "memory.reservation": "memory-reservation", "cpu.shares": "cpu-shares", "pids.limit": "pids-limit",
		"blockIO.weight": "blkio-weight", "blockio.weight": "blkio-weight", "cpu.cpus": "cpuset-cpus", "cpu.mems": "cpuset-mems",
	}
	switch {
	case name == "cpu.quota" && number != nil:
		r.quota = number
	case name == "cpu.period" && number != nil:
		r.period = number
	case name == "cpu.cpus" || name == "cpu.mems":
		return r.Set(limits[name], text)
	case limits[name] != "" && number != nil:
		return r.Set(limits[name], strconv.FormatInt(*number, 10))
	case limits[name] != "" || strings.HasPrefix(name, "cpu."):
		return fmt.Errorf("%s is not a number or not a key that is known", value)
	default:
		return fmt.Errorf("there is no such limit for ordinary users of control groups version 2")
	}
	return nil
}

// scalar reads a TOML integer or basic string without escapes.
func scalar(value string) (*int64, string, error) {
	if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] && !strings.ContainsAny(value[1:n-1], `"'\`) {
		return nil, value[1 : n-1], nil
	}
	number, err := strconv.ParseInt(strings.ReplaceAll(value, "_", ""), 0, 64)
	if err != nil {
		return nil, "", fmt.Errorf("%s is neither a whole number nor a plain string", value)
	}
	return &number, "", nil
}

// stripComment cuts a comment off. Strings in these files have no #.
func stripComment(line string) string {
	line, _, _ = strings.Cut(line, "#")
	return line
}

// merge takes what l does not have itself.
func (l *Limits) merge(r *resources) error {
	if r.quota != nil && *r.quota > 0 {
		period := int64(cpuPeriod)
		if r.period != nil {
			period = *r.period
		}
		if period < 1000 || period > 1_000_000 {
			return fmt.Errorf("cpu.period: %d is not from 1000 to 1000000 microseconds", period)
		}
		r.CPUs = pointer(float64(*r.quota) / float64(period))
	}
	take(&l.Memory, r.Memory)
	take(&l.MemorySwap, r.MemorySwap)
	take(&l.MemoryReservation, r.MemoryReservation)
	take(&l.CPUs, r.CPUs)
	take(&l.CPUShares, r.CPUShares)
	take(&l.Pids, r.Pids)
	take(&l.BlkioWeight, r.BlkioWeight)
	if l.CPUSetCPUs == "" {
		l.CPUSetCPUs = r.CPUSetCPUs
	}
	if l.CPUSetMems == "" {
		l.CPUSetMems = r.CPUSetMems
	}
	return nil
}

func take[T any](to **T, from *T) {
	if *to == nil {
		*to = from
	}
}
