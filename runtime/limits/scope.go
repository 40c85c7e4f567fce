package limits

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// scopePatience is how long systemd may take to move the process.
const scopePatience = 20 * time.Second

// Scope has the user's systemd move the calling process into a scope with these limits, which goes away with its last
// process, and tells its directory. busctl is what speaks to systemd: systemd-run would start another program, in the namespaces of this one.
// The error matches ErrNotDelegated where there is no such service.
func (l *Limits) Scope(t Tree) (dir string, err error) {
	properties, err := l.properties()
	if err != nil {
		return "", err
	}
	controllers, _ := l.Controllers()
	before, _, err := t.own()
	if err != nil {
		return "", err
	}
	busctl, err := exec.LookPath("busctl")
	if err != nil {
		return "", fmt.Errorf("%w, nor is there a systemd to ask", ErrNotDelegated)
	}
	if t.Proc == "" {
		t.Proc = "/proc"
	}
	pid, err := os.Readlink(filepath.Join(t.Proc, "self")) // systemd's number for us: this /proc is still the host's
	if err != nil {
		return "", fmt.Errorf("control group: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), scopePatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, busctl, scopeCall(groupPrefix+pid+".scope", pid, properties)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		text, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return "", fmt.Errorf("%w, and systemd makes none: %s", ErrNotDelegated, text)
	}
	for { // the answer says that the job has begun, not that it is done
		now, _, err := t.own()
		if err != nil {
			return "", err
		}
		if now != before {
			if missing := lacks(now, controllers); missing != "" {
				return "", fmt.Errorf("%w: systemd passes on no controller %s", ErrNotDelegated, missing)
			}
			return now, nil
		}
		if ctx.Err() != nil {
			return "", errors.New("control group: systemd does not move the process")
		}
		time.Sleep(time.Millisecond)
	}
}

// scopeCall are the words of busctl that call StartTransientUnit.
func scopeCall(unit, pid string, properties [][]string) []string {
	words := []string{"--user", "--quiet", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
		"StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail"}
	properties = append([][]string{{"PIDs", "au", "1", pid}, {"CollectMode", "s", "inactive-or-failed"}}, properties...)
	words = append(words, strconv.Itoa(len(properties)))
	for _, p := range properties {
		words = append(words, p...)
	}
	return append(words, "0")
}

// properties are the limits as systemd takes them over D-Bus: name, type, value.
func (l *Limits) properties() ([][]string, error) {
	all, err := l.settings()
	if err != nil {
		return nil, err
	}
	names := map[string]string{
		"memory.max": "MemoryMax", "memory.swap.max": "MemorySwapMax", "memory.low": "MemoryLow", "cpu.weight": "CPUWeight", "pids.max": "TasksMax", "io.weight": "IOWeight",
	}
	var properties [][]string
	for _, s := range all {
		value := strings.TrimPrefix(s.value, "default ")
		switch s.file {
		case "cpu.max":
			properties = append(properties, []string{"CPUQuotaPerSecUSec", "t", strconv.FormatInt(int64(*l.CPUs*1e6), 10)})
		case "cpuset.cpus":
			properties = append(properties, append([]string{"AllowedCPUs", "ay"}, mask(value)...))
		case "cpuset.mems":
			properties = append(properties, append([]string{"AllowedMemoryNodes", "ay"}, mask(value)...))
		default:
			if value == "max" {
				value = strconv.FormatUint(math.MaxUint64, 10)
			}
			properties = append(properties, []string{names[s.file], "t", value})
		}
	}
	return properties, nil
}

// mask writes a list that ParseSet took as an array of bytes, the lowest number in the lowest bit of the first.
func mask(list string) []string {
	var bits []byte
	for part := range strings.SplitSeq(list, ",") {
		first, last, both := strings.Cut(part, "-")
		if !both {
			last = first
		}
		from, _ := strconv.ParseUint(first, 10, 16)
		to, _ := strconv.ParseUint(last, 10, 16)
		for n := from; n <= to; n++ {
			for uint64(len(bits)) <= n/8 {
				bits = append(bits, 0)
			}
			bits[n/8] |= 1 << (n % 8)
		}
	}
	words := []string{strconv.Itoa(len(bits))}
	for _, b := range bits {
		words = append(words, strconv.Itoa(int(b)))
	}
	return words
}
