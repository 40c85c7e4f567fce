package limits

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ParseSize reads a number of bytes such as 512M, 1.5g or 1GiB; units are of 1024, as with Docker.
func ParseSize(text string) (int64, error) {
	s := strings.ToLower(strings.TrimSpace(text))
	s = strings.TrimSuffix(strings.TrimSuffix(s, "b"), "i")
	shift := 0
	if n := len(s); n > 0 {
		if i := strings.IndexByte("kmgtp", s[n-1]); i >= 0 {
			shift, s = 10*(i+1), s[:n-1]
		}
	}
	n, err := strconv.ParseFloat(s, 64)
	bytes := n * float64(int64(1)<<shift)
	if err != nil || !(bytes >= 1 && bytes < math.MaxInt64) { // so is NaN refused
		return 0, fmt.Errorf("%q is not a size; want bytes or a number with K, M, G or T", text)
	}
	return int64(bytes), nil
}

// ParseCount reads a whole number of at least low; -1 is taken too if endless is set.
func ParseCount(text string, low, high int64, endless bool) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	switch {
	case err == nil && n == -1 && endless:
		return n, nil
	case err != nil || n < low || n > high:
		return 0, fmt.Errorf("%q is not a number from %d to %d", text, low, high)
	}
	return n, nil
}

// ParseCPUs reads a number of processors such as 1.5.
func ParseCPUs(text string) (float64, error) {
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || !(n >= 0.01) || n > 1<<20 {
		return 0, fmt.Errorf("%q is not a number of processors; want at least 0.01", text)
	}
	return n, nil
}

// ParseSet reads a list of processors or memory nodes such as 0-3,8.
func ParseSet(text string) (string, error) {
	wrong := fmt.Errorf("%q is not a list of numbers and ranges, such as 0-3,8", text)
	for part := range strings.SplitSeq(text, ",") {
		first, last, both := strings.Cut(part, "-")
		a, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return "", wrong
		}
		if b, err := strconv.ParseUint(last, 10, 16); both && (err != nil || b < a) {
			return "", wrong
		}
	}
	return text, nil
}

// Set takes one limit by the name of its flag, without the dashes.
func (l *Limits) Set(name, text string) (err error) {
	switch name {
	case "memory":
		l.Memory, err = size(text)
	case "memory-reservation":
		l.MemoryReservation, err = size(text)
	case "memory-swap":
		if text == "-1" {
			l.MemorySwap = pointer(int64(-1))
			return nil
		}
		l.MemorySwap, err = size(text)
	case "cpus":
		var n float64
		n, err = ParseCPUs(text)
		l.CPUs = pointer(n)
	case "cpu-shares":
		l.CPUShares, err = count(text, 2, 262144)
	case "blkio-weight":
		l.BlkioWeight, err = count(text, 10, 1000)
	case "cpuset-cpus":
		l.CPUSetCPUs, err = ParseSet(text)
	case "cpuset-mems":
		l.CPUSetMems, err = ParseSet(text)
	case "pids-limit":
		var n int64
		n, err = ParseCount(text, 1, 1<<22, true) // the kernel's PID_MAX_LIMIT
		l.Pids = pointer(n)
	default:
		err = fmt.Errorf("there is no such limit")
	}
	return err
}

func pointer[T any](v T) *T { return &v }

func size(text string) (*int64, error) {
	n, err := ParseSize(text)
	return &n, err
}

func count(text string, low, high int64) (*uint64, error) {
	n, err := ParseCount(text, low, high, false)
	return pointer(uint64(n)), err
}
