package seccomp

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	goruntime "runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// answer runs a filter for one system call, in the virtual machine of the bpf package. That one reads big-endian
// words, so each half is stored as such, at the place where a little-endian machine has it.
func answer(t *testing.T, profile *specs.LinuxSeccomp, arch, number uint32, args ...uint64) uint32 {
	t.Helper()
	program, err := Compile(profile)
	if err != nil {
		t.Fatal(err)
	}
	instructions, ok := bpf.Disassemble(program)
	if !ok {
		t.Fatal("the program has instructions that cannot be read")
	}
	vm, err := bpf.NewVM(instructions)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data[offNumber:], number)
	binary.BigEndian.PutUint32(data[offArch:], arch)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[offArgs+8*i:], uint32(a))
		binary.BigEndian.PutUint32(data[offArgs+8*i+4:], uint32(a>>32))
	}
	n, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

func needTables(t testing.TB) *architecture {
	t.Helper()
	if len(architectures) == 0 {
		t.Skip(ErrUnsupported)
	}
	return &architectures[0]
}

func number(t testing.TB, a *architecture, name string) uint32 {
	t.Helper()
	n, ok := a.number(name)
	if !ok {
		t.Fatalf("%s has no number on %s", name, a.name)
	}
	return n
}

func TestTables(t *testing.T) {
	needTables(t)
	for _, a := range architectures {
		if !slices.IsSortedFunc(a.calls, func(x, y call) int { return strings.Compare(x.name, y.name) }) {
			t.Errorf("the table of %s is not sorted", a.name)
		}
		if len(a.calls) < 300 {
			t.Errorf("the table of %s has %d entries only", a.name, len(a.calls))
		}
	}
	if n := number(t, &architectures[0], "execve"); n != unix.SYS_EXECVE {
		t.Errorf("execve is %d in the table, %d in fact", n, unix.SYS_EXECVE)
	}
}

func TestDefault(t *testing.T) {
	needTables(t)
	const eperm = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	for i := range architectures {
		a := &architectures[i]
		for _, name := range []string{"kexec_load", "init_module", "reboot", "settimeofday", "swapon", "open_by_handle_at", "bpf"} {
			if got := answer(t, Default(), a.audit, number(t, a, name)); got != eperm {
				t.Errorf("%s: %s gives %#x", a.name, name, got)
			}
		}
		for _, name := range []string{"read", "mount", "unshare", "setns", "clone", "ptrace", "keyctl", "perf_event_open", "execve", "pivot_root", "adjtimex", "quotactl"} {
			if got := answer(t, Default(), a.audit, number(t, a, name)); got != unix.SECCOMP_RET_ALLOW {
				t.Errorf("%s: %s gives %#x", a.name, name, got)
			}
		}
		if a.alien != 0 {
			if got := answer(t, Default(), a.audit, a.alien+1); got != unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS) {
				t.Errorf("%s: other interface gives %#x", a.name, got)
			}
		}
	}
	if got := answer(t, Default(), 0x12345678, 0); got != unix.SECCOMP_RET_KILL_PROCESS {
		t.Errorf("unknown architecture gives %#x", got)
	}
}

func TestArguments(t *testing.T) {
	a := needTables(t)
	const big = 1<<32 + 7
	for _, tt := range []struct {
		op       specs.LinuxSeccompOperator
		v, v2    uint64
		yes, not []uint64
	}{
		{specs.OpEqualTo, big, 0, []uint64{big}, []uint64{7, 1 << 32, big + 1, big + 1<<32}},
		{specs.OpNotEqual, big, 0, []uint64{7, 1 << 32, big + 1}, []uint64{big}},
		{specs.OpGreaterThan, big, 0, []uint64{big + 1, 1 << 33}, []uint64{big, big - 1, 7, 1<<32 - 1}},
		{specs.OpGreaterEqual, big, 0, []uint64{big, big + 1, 1 << 33}, []uint64{big - 1, 9}},
		{specs.OpLessThan, big, 0, []uint64{big - 1, 0, 1<<32 - 1}, []uint64{big, big + 1, 1 << 33}},
		{specs.OpLessEqual, big, 0, []uint64{big, big - 1, 9}, []uint64{big + 1, 1<<33 + 1}},
		{specs.OpMaskedEqual, 0xf_0000_000f, 0x1_0000_0002, []uint64{0x1_0000_0002, 0x1_0000_ff02, 0xf1_0000_0002}, []uint64{2, 0x1_0000_0003, 0x2_0000_0002}},
	} {
		eacces := uint(unix.EACCES)
		profile := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
			{Names: []string{"read", "no_such_call"}, Action: specs.ActErrno, ErrnoRet: &eacces, Args: []specs.LinuxSeccompArg{
				{Index: 0, Op: specs.OpEqualTo, Value: 1}, {Index: 5, Op: tt.op, Value: tt.v, ValueTwo: tt.v2}}},
			{Names: []string{"write"}, Action: specs.ActKillProcess},
		}}
		hit := unix.SECCOMP_RET_ERRNO | uint32(unix.EACCES)
		read := number(t, a, "read")
		for _, v := range tt.yes {
			if got := answer(t, profile, a.audit, read, 1, 0, 0, 0, 0, v); got != hit {
				t.Errorf("%#x %s %#x: %#x", v, tt.op, tt.v, got)
			}
			if got := answer(t, profile, a.audit, read, 2, 0, 0, 0, 0, v); got != unix.SECCOMP_RET_ALLOW {
				t.Errorf("other first argument, %#x %s %#x: %#x", v, tt.op, tt.v, got)
			}
		}
		for _, v := range tt.not {
			if got := answer(t, profile, a.audit, read, 1, 0, 0, 0, 0, v); got != unix.SECCOMP_RET_ALLOW {
				t.Errorf("%#x %s %#x: %#x", v, tt.op, tt.v, got)
			}
		}
		// A rule that does not apply must leave the number in place for the next one.
		if got := answer(t, profile, a.audit, number(t, a, "write"), 1); got != unix.SECCOMP_RET_KILL_PROCESS {
			t.Errorf("the rule after one with arguments: %#x", got)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	needTables(t)
	long := specs.LinuxSyscall{Names: slices.Repeat([]string{"read"}, 5000), Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Op: specs.OpEqualTo}}}
	for _, tt := range []struct {
		want    string
		profile specs.LinuxSeccomp
	}{
		{"SCMP_ACT_NOTIFY", specs.LinuxSeccomp{DefaultAction: specs.ActNotify}},
		{`"nonsense"`, specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: "nonsense"}}}},
		{"argument 6", specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}}}}},
		{`comparison ""`, specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 1}}}}}},
		{"too many conditions", specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActAllow, Args: slices.Repeat([]specs.LinuxSeccompArg{{Op: specs.OpEqualTo}}, 99)}}}},
		{"the kernel takes", specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{long}}},
	} {
		if _, err := Compile(&tt.profile); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("want %s in the error, got %v", tt.want, err)
		}
	}
}

// TestLoad loads the default filter in a process of its own, and sees the kernel follow it.
func TestLoad(t *testing.T) {
	needTables(t)
	if os.Getenv("FLATRUN_TEST_LOAD") == "" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self, "-test.run=^TestLoad$", "-test.v")
		cmd.Env = append(os.Environ(), "FLATRUN_TEST_LOAD=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	goruntime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	eexist, enoent := uint(unix.EEXIST), uint(unix.ENOENT)
	profile := Default()
	profile.Syscalls = append(profile.Syscalls,
		specs.LinuxSyscall{Names: []string{"getpriority"}, Action: specs.ActErrno, ErrnoRet: &eexist, Args: []specs.LinuxSeccompArg{{Index: 0, Op: specs.OpEqualTo, Value: 1}}},
		specs.LinuxSyscall{Names: []string{"swapoff"}, Action: specs.ActErrno, ErrnoRet: &enoent})
	if err := Load(profile); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Getpriority(1, 0); !errors.Is(err, unix.EEXIST) {
		t.Errorf("getpriority of a group: %v", err)
	}
	if _, err := unix.Getpriority(0, 0); err != nil {
		t.Errorf("getpriority of a process: %v", err)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SWAPOFF, 0, 0, 0); errno != syscall.EPERM {
		t.Errorf("swapoff: %v, the first rule should decide", errno)
	}
}

func BenchmarkCompile(b *testing.B) {
	needTables(b)
	for b.Loop() {
		if _, err := Compile(Default()); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzCompile(f *testing.F) {
	needTables(f)
	f.Add(`{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86"],"syscalls":[{"names":["read","write"],"action":"SCMP_ACT_ALLOW"},{"names":["ioctl"],"action":"SCMP_ACT_ALLOW","args":[{"index":1,"value":7,"valueTwo":3,"op":"SCMP_CMP_MASKED_EQ"}]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var profile specs.LinuxSeccomp
		if json.Unmarshal([]byte(text), &profile) != nil {
			return
		}
		program, err := Compile(&profile)
		if err != nil {
			return
		}
		instructions, ok := bpf.Disassemble(program)
		if !ok {
			t.Fatal("instructions that cannot be read")
		}
		// The machine refuses jumps out of the program and programs that do not end.
		vm, err := bpf.NewVM(instructions)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := vm.Run(make([]byte, 64)); err != nil {
			t.Fatal(err)
		}
	})
}
