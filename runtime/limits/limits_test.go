package limits

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func parse(t *testing.T, flags string) Limits {
	t.Helper()
	var l Limits
	for _, field := range strings.Fields(flags) {
		name, value, _ := strings.Cut(field, "=")
		if err := l.Set(name, value); err != nil {
			t.Fatalf("%s: %v", field, err)
		}
	}
	return l
}

func TestSettings(t *testing.T) {
	for _, tt := range []struct{ flags, files, properties string }{
		{"", "", ""},
		{"memory=1G", "memory/memory.max=1073741824", "MemoryMax=1073741824"},
		{"memory=1G memory-swap=3G", "memory/memory.max=1073741824 memory/memory.swap.max=2147483648", "MemoryMax=1073741824 MemorySwapMax=2147483648"},
		{"memory=1G memory-swap=-1", "memory/memory.max=1073741824 memory/memory.swap.max=max", "MemoryMax=1073741824 MemorySwapMax=18446744073709551615"},
		{"memory-swap=-1", "memory/memory.swap.max=max", "MemorySwapMax=18446744073709551615"},
		{"memory-reservation=100k", "memory/memory.low=102400", "MemoryLow=102400"},
		{"cpus=1.5", "cpu/cpu.max=150000_100000", "CPUQuotaPerSecUSec=1500000"},
		{"cpus=0.01", "cpu/cpu.max=1000_100000", "CPUQuotaPerSecUSec=10000"},
		{"cpu-shares=1024", "cpu/cpu.weight=39", "CPUWeight=39"},
		{"cpu-shares=2", "cpu/cpu.weight=1", "CPUWeight=1"},
		{"cpu-shares=262144", "cpu/cpu.weight=10000", "CPUWeight=10000"},
		{"cpuset-cpus=0-3,8 cpuset-mems=0", "cpuset/cpuset.cpus=0-3,8 cpuset/cpuset.mems=0", "AllowedCPUs=2_15_1 AllowedMemoryNodes=1_1"},
		{"pids-limit=100", "pids/pids.max=100", "TasksMax=100"},
		{"pids-limit=-1", "pids/pids.max=max", "TasksMax=18446744073709551615"},
		{"blkio-weight=10", "io/io.weight=default_1", "IOWeight=1"},
		{"blkio-weight=1000", "io/io.weight=default_10000", "IOWeight=10000"},
	} {
		l := parse(t, tt.flags)
		if l.Empty() != (tt.flags == "") {
			t.Errorf("%s: Empty", tt.flags)
		}
		settings, err := l.settings()
		if err != nil {
			t.Errorf("%s: %v", tt.flags, err)
		}
		var files []string
		for _, s := range settings {
			files = append(files, s.controller+"/"+s.file+"="+strings.ReplaceAll(s.value, " ", "_"))
		}
		if got := strings.Join(files, " "); got != tt.files {
			t.Errorf("%s: %s, want %s", tt.flags, got, tt.files)
		}
		properties, err := l.properties()
		var words []string
		for _, p := range properties {
			words = append(words, p[0]+"="+strings.Join(p[2:], "_"))
		}
		if got := strings.Join(words, " "); err != nil || got != tt.properties {
			t.Errorf("%s: %s, want %s (%v)", tt.flags, got, tt.properties, err)
		}
	}
	for _, flags := range []string{"memory-swap=1G", "memory=2G memory-swap=1G"} {
		l := parse(t, flags)
		if s, err := l.settings(); err == nil {
			t.Errorf("%s: %v", flags, s)
		}
	}
	l := parse(t, "memory=1G memory-reservation=1M cpus=1 pids-limit=5")
	if c, err := l.Controllers(); err != nil || !slices.Equal(c, []string{"memory", "cpu", "pids"}) {
		t.Errorf("controllers %v, %v", c, err)
	}
}

func TestSetRefuses(t *testing.T) {
	for _, field := range strings.Fields("memory= memory=x memory=-1 memory=0 memory=1Q memory=9e30 memory=NaN memory=inf memory-reservation=- memory-swap=-2 cpus=0 cpus=-1 cpus=x cpus=NaN cpus=inf " +
		"cpu-shares=1 cpu-shares=262145 cpu-shares=-1 cpuset-cpus=a cpuset-cpus=3-1 cpuset-cpus=1, cpuset-cpus=1-2-3 cpuset-mems= cpuset-mems=70000 pids-limit=0 pids-limit=-2 pids-limit=1.5 blkio-weight=9 blkio-weight=1001 other=1") {
		name, value, _ := strings.Cut(field, "=")
		var l Limits
		if err := l.Set(name, value); err == nil {
			t.Errorf("%s is taken", field)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "10b": 10, "1k": 1024, "1K": 1024, "1KB": 1024, "1KiB": 1024, "1.5m": 3 << 19, "2G": 2 << 30, "1T": 1 << 40, " 7 ": 7} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestParseFile(t *testing.T) {
	var l Limits
	err := l.ParseFile([]byte("# limits of a job\n[memory]\nlimit = 1_048_576 # 1 MiB\n  swap = 2097152\n\n[ cpu ]\nshares=512\nquota = 50000\nperiod = 100000\ncpus = \"0-1\"\nmems = '0'\n[pids]\nlimit = 0x10\n[blockIO]\nweight = 500\n"))
	want := parse(t, "memory=1M memory-swap=2M cpu-shares=512 cpus=0.5 cpuset-cpus=0-1 cpuset-mems=0 pids-limit=16 blkio-weight=500")
	if err != nil || !reflect.DeepEqual(l, want) {
		t.Errorf("%+v, %v", l, err)
	}
	l = parse(t, "memory=5M cpuset-cpus=7")
	if err := l.ParseFile([]byte("[memory]\nlimit = 1\n[cpu]\ncpus = \"0\"\n[pids]\nlimit = 3\n")); err != nil || !reflect.DeepEqual(l, parse(t, "memory=5M cpuset-cpus=7 pids-limit=3")) {
		t.Errorf("flags are not stronger: %+v, %v", l, err)
	}
	for text, why := range map[string]string{
		"[memory]\nlimit = \"a\"": "line 2: memory.limit", "[memory\n": "line 1", "[[devices]]": "only plain tables", "[memory]\nkernel = 5": "no such limit", "x": "key = value",
		"[cpu]\nquota = 1.5": "whole number", "[cpu]\nquota = 5000\nperiod = 1": "cpu.period", "[cpu]\nrealtimePeriod = 1": "cpu.realtimePeriod", "limit = 3": "no such limit",
		"[cpu]\ncpus = 3": "not a list", "[pids]\nlimit = \"5": "neither",
	} {
		if err := new(Limits).ParseFile([]byte(text)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %q", text, err, why)
		}
	}
}

// fakeTree lays out control groups as files; the calling process is in /user/job.
func fakeTree(t *testing.T, controllers string) (Tree, string) {
	t.Helper()
	base := t.TempDir()
	tree := Tree{Mount: filepath.Join(base, "cgroup"), Proc: filepath.Join(base, "proc")}
	write(t, filepath.Join(tree.Proc, "self/cgroup"), "1:name=systemd:/\n0::/user/job\n")
	for _, dir := range []string{"", "/user", "/user/job"} {
		for name, text := range map[string]string{"cgroup.controllers": controllers, "cgroup.subtree_control": "", "cgroup.procs": ""} {
			write(t, filepath.Join(tree.Mount, dir, name), text)
		}
	}
	return tree, filepath.Join(tree.Mount, "user")
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func needUser(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
}

func deny(t *testing.T, name string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(name, 0o755) })
}

func TestEnter(t *testing.T) {
	tree, user := fakeTree(t, "cpu memory pids\n")
	parent := strconv.Itoa(os.Getppid())
	stale, alive := filepath.Join(user, "job", groupPrefix+"4194305-1"), filepath.Join(user, "job", groupPrefix+parent+"-"+startTime(parent))
	other := filepath.Join(user, "job", "other")
	for _, dir := range []string{stale, alive, other} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l := parse(t, "memory=1M pids-limit=7")
	dir, err := l.Enter(tree)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(user, "job", groupName()); dir != want {
		t.Errorf("group %s, want %s", dir, want)
	}
	for file, want := range map[string]string{"memory.max": "1048576", "pids.max": "7", "cgroup.procs": "0", "../cgroup.subtree_control": "+pids"} {
		if got := read(t, filepath.Join(dir, file)); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
	for name, there := range map[string]bool{stale: false, alive: true, other: true} {
		if _, err := os.Stat(name); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEnterAbove: where the own group does not pass controllers on, the one above does.
func TestEnterAbove(t *testing.T) {
	needUser(t)
	tree, user := fakeTree(t, "memory")
	deny(t, filepath.Join(user, "job/cgroup.subtree_control"), 0o444)
	l := parse(t, "memory=1M")
	dir, err := l.Enter(tree)
	if want := filepath.Join(user, groupName()); err != nil || dir != want {
		t.Errorf("group %s, want %s (%v)", dir, want, err)
	}
	if got := read(t, filepath.Join(user, "job/cgroup.procs")); got != "0" {
		t.Errorf("not moved back before the second attempt: %q", got)
	}
}

func TestNotDelegated(t *testing.T) {
	l := parse(t, "memory=1M")
	check := func(tree Tree, why string) {
		t.Helper()
		if _, err := l.Enter(tree); !errors.Is(err, ErrNotDelegated) || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want %q", err, why)
		}
	}
	tree, _ := fakeTree(t, "cpu pids")
	check(tree, "has no controller memory")
	write(t, filepath.Join(tree.Proc, "self/cgroup"), "0::/../elsewhere\n")
	check(tree, "not visible")
	write(t, filepath.Join(tree.Proc, "self/cgroup"), "4:memory:/x\n")
	check(tree, "version 1 only")
	check(Tree{Mount: tree.Mount, Proc: t.TempDir()}, "no such file")
	needUser(t)
	tree, user := fakeTree(t, "memory")
	deny(t, filepath.Join(user, "job"), 0o555)
	deny(t, filepath.Join(user, "cgroup.procs"), 0o444)
	check(tree, "belongs to root")
}

func second(_ string, err error) error { return err }

// TestScope has a program in busctl's place that moves the process, or does not.
func TestScope(t *testing.T) {
	tree, user := fakeTree(t, "memory")
	if err := os.Rename(filepath.Join(tree.Proc, "self"), filepath.Join(tree.Proc, "77")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("77", filepath.Join(tree.Proc, "self")); err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	l := parse(t, "memory=1M")
	expect := func(err error, why string) {
		t.Helper()
		if !errors.Is(err, ErrNotDelegated) || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want %q", err, why)
		}
	}
	expect(second(l.Scope(tree)), "nor is there a systemd")
	busctl := func(script string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(bin, "busctl"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	busctl("echo 'Failed to connect to bus: No such file or directory' >&2\nexit 1\n")
	expect(second(l.Scope(tree)), "systemd makes none: Failed to connect to bus")
	busctl(fmt.Sprintf("echo \"$*\" > %[1]s/words\necho 0::/user/flatrun-77.scope > %[2]s/77/cgroup\n", bin, tree.Proc))
	for name, text := range map[string]string{"cgroup.controllers": "pids"} {
		write(t, filepath.Join(user, "flatrun-77.scope", name), text)
	}
	expect(second(l.Scope(tree)), "no controller memory")
	write(t, filepath.Join(tree.Proc, "77/cgroup"), "0::/user/job\n")
	write(t, filepath.Join(user, "flatrun-77.scope/cgroup.controllers"), "memory pids")
	if dir, err := l.Scope(tree); err != nil || dir != filepath.Join(user, "flatrun-77.scope") {
		t.Errorf("%s, %v", dir, err)
	}
	want := "--user --quiet call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager StartTransientUnit ssa(sv)a(sa(sv)) flatrun-77.scope fail 3 " +
		"PIDs au 1 77 CollectMode s inactive-or-failed MemoryMax t 1048576 0\n"
	if got := read(t, filepath.Join(bin, "words")); got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
}

// TestHere is the real machine: either it works or the text says why not.
func TestHere(t *testing.T) {
	l := parse(t, "pids-limit=1000")
	controllers, err := l.Controllers()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (Tree{}).places(controllers); err != nil && !errors.Is(err, ErrNotDelegated) {
		t.Error(err)
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte("[memory]\nlimit = 5\n[cpu]\ncpus = \"0-3\"\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var l Limits
		if l.ParseFile(text) == nil {
			l.settings()
			l.properties()
		}
	})
}

func FuzzParseSize(f *testing.F) {
	f.Add("1.5GiB")
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := ParseSize(text); err == nil && n < 0 {
			t.Errorf("%q: %d", text, n)
		}
	})
}
