// Package seccomp turns OCI system call filters into programs for the kernel, and has the default one.
//
// It replaces libseccomp, which would have to be linked, for the few things that are needed: the names of the
// system calls are a table, the program is a search in it. Since Linux 5.11 the kernel works out beforehand which calls
// a program lets pass whatever their arguments are, so a filter costs nothing once it is loaded.
package seccomp

//go:generate go run gen.go

import (
	"cmp"
	"errors"
	"fmt"
	goruntime "runtime"
	"slices"
	"strings"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// ErrUnsupported means that there is no table of system calls for this processor.
var ErrUnsupported = errors.New("no system call filters on " + goruntime.GOARCH)

type call struct {
	name   string
	number uint32
}

type architecture struct {
	name  specs.Arch
	audit uint32 // AUDIT_ARCH_…
	calls []call
	alien uint32 // numbers from here on belong to another interface of the same architecture; 0 = none
}

// number returns the number of a system call. Names that the architecture or our table does not know match nothing.
func (a *architecture) number(name string) (uint32, bool) {
	i, ok := slices.BinarySearchFunc(a.calls, name, func(c call, name string) int { return strings.Compare(c.name, name) })
	if !ok {
		return 0, false
	}
	return a.calls[i].number, true
}

// Default denies what only the administrator of a machine has any business with, in case the kernel forgets to ask
// for a capability. Everything that jobs, debuggers, profilers and nested containers do passes: mount, unshare, setns,
// ptrace, keyctl, perf_event_open, userfaultfd, io_uring.
func Default() *specs.LinuxSeccomp {
	eperm := uint(unix.EPERM)
	return &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchAARCH64, specs.ArchARM},
		Syscalls: []specs.LinuxSyscall{{
			Names: []string{
				"kexec_load", "kexec_file_load", "reboot", // another kernel, or none
				"init_module", "finit_module", "delete_module", "create_module", "query_module", "get_kernel_syms", "bpf", // code in the kernel
				"swapon", "swapoff", "acct", "nfsservctl", "vhangup", // services of the machine
				"settimeofday", "clock_settime", "stime", // its clock
				"iopl", "ioperm", "vm86", "vm86old", // its hardware
				"open_by_handle_at", "lookup_dcookie", // files without a path
				"uselib", "sysfs", "_sysctl", // obsolete
			},
			Action:   specs.ActErrno,
			ErrnoRet: &eperm,
		}},
	}
}

// Load puts a filter on the calling thread, for good. It needs no_new_privs or CAP_SYS_ADMIN.
func Load(profile *specs.LinuxSeccomp) error {
	program, err := Compile(profile)
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(program))
	for i, r := range program {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	flags := uintptr(0)
	for _, f := range profile.Flags {
		if f == specs.LinuxSeccompFlagLog {
			flags |= unix.SECCOMP_FILTER_FLAG_LOG
		}
	}
	// Kernels before 5.16 switch on a costly protection against Spectre v4 for every filtered process, unless told
	// that the filter is not there to contain hostile code in a shared address space.
	for _, extra := range []uintptr{unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, 0} {
		prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags|extra, uintptr(unsafe.Pointer(&prog)))
		goruntime.KeepAlive(filter)
		if errno == 0 {
			return nil
		}
		if errno != unix.EINVAL {
			return fmt.Errorf("load the system call filter: %w", errno)
		}
		err = errno
	}
	return fmt.Errorf("load the system call filter: %w", err)
}

// Compile translates a profile. Names of system calls that are not known match nothing, as with libseccomp's callers.
func Compile(profile *specs.LinuxSeccomp) ([]bpf.RawInstruction, error) {
	if len(architectures) == 0 {
		return nil, ErrUnsupported
	}
	fallback, err := action(profile.DefaultAction, profile.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	program := []bpf.Instruction{loadWord(offArch)}
	for i := range architectures {
		a := &architectures[i]
		if i > 0 && !slices.Contains(profile.Architectures, a.name) {
			continue
		}
		section, err := a.section(profile.Syscalls, fallback)
		if err != nil {
			return nil, err
		}
		// A conditional jump reaches 255 instructions only, so it is turned round.
		program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: a.audit, SkipTrue: 1}, bpf.Jump{Skip: uint32(len(section))})
		program = append(program, section...)
	}
	program = append(program, bpf.RetConstant{Val: unix.SECCOMP_RET_KILL_PROCESS})
	if len(program) > unix.BPF_MAXINSNS {
		return nil, fmt.Errorf("system call filter: %d instructions, the kernel takes %d", len(program), unix.BPF_MAXINSNS)
	}
	return bpf.Assemble(program)
}

// section is the part of the program for one architecture.
func (a *architecture) section(rules []specs.LinuxSyscall, fallback uint32) ([]bpf.Instruction, error) {
	out := []bpf.Instruction{loadWord(offNumber)}
	if a.alien != 0 {
		out = append(out, bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: a.alien, SkipFalse: 1}, errnoInstruction(unix.ENOSYS))
	}
	var plain []verdict
	for _, r := range rules {
		result, err := action(r.Action, r.ErrnoRet)
		if err != nil {
			return nil, err
		}
		for _, name := range r.Names {
			number, ok := a.number(name)
			if !ok {
				continue
			}
			if len(r.Args) == 0 {
				plain = append(plain, verdict{number, result})
				continue
			}
			body, err := arguments(r.Args, result)
			if err != nil {
				return nil, fmt.Errorf("system call filter: %s: %w", name, err)
			}
			// In the order of the rules: those without arguments that came before decide first.
			out = append(append(out, list(plain)...), bpf.JumpIf{Cond: bpf.JumpEqual, Val: number, SkipFalse: uint8(len(body))})
			out, plain = append(out, body...), nil
		}
	}
	slices.SortStableFunc(plain, func(x, y verdict) int { return cmp.Compare(x.number, y.number) })
	plain = slices.CompactFunc(plain, func(x, y verdict) bool { return x.number == y.number }) // the first rule decides
	return append(out, tree(plain, fallback)...), nil
}

// verdict is what becomes of a system call whatever its arguments are.
type verdict struct{ number, result uint32 }

// list compares one number after the other, and goes on if none is it.
func list(verdicts []verdict) (out []bpf.Instruction) {
	for _, v := range verdicts {
		out = append(out, bpf.JumpIf{Cond: bpf.JumpEqual, Val: v.number, SkipFalse: 1}, bpf.RetConstant{Val: v.result})
	}
	return out
}

// tree searches sorted numbers by halves. When the program is loaded, the kernel runs it for every number that there
// is; a list would be most of the cost of a filter.
func tree(verdicts []verdict, fallback uint32) []bpf.Instruction {
	if len(verdicts) <= 3 {
		return append(list(verdicts), bpf.RetConstant{Val: fallback})
	}
	middle := len(verdicts) / 2
	low, high := tree(verdicts[:middle], fallback), tree(verdicts[middle:], fallback)
	out := []bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: verdicts[middle].number, SkipFalse: 1}, bpf.Jump{Skip: uint32(len(low))}}
	return append(append(out, low...), high...)
}

func errnoInstruction(e unix.Errno) bpf.Instruction {
	return bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(e)}
}

// action returns what a filter program answers.
func action(a specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	data := uint32(unix.EPERM)
	if errno != nil {
		data = uint32(*errno) & unix.SECCOMP_RET_DATA
	}
	switch a {
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO | data, nil
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActTrace:
		return unix.SECCOMP_RET_TRACE | data, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	}
	return 0, fmt.Errorf("system call filter: action %q is not supported", a)
}
