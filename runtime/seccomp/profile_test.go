package seccomp

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const docker = `{
  "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
  "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}, {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}],
  "syscalls": [
    {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
    {"name": "close", "action": "SCMP_ACT_ALLOW"},
    {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
    {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 2114060288, "op": "SCMP_CMP_MASKED_EQ"}], "excludes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["s390", "s390x"]}},
    {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
    {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
    {"names": ["umask"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "4.8"}},
    {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}}
  ]
}`

func allowed(p *specs.LinuxSeccomp) (names []string) {
	for _, r := range p.Syscalls {
		if r.Action == specs.ActAllow {
			names = append(names, r.Names...)
		}
	}
	return names
}

func TestParseProfileConditions(t *testing.T) {
	for _, tt := range []struct {
		host  Host
		want  string
		archs []specs.Arch
	}{
		{Host{Arch: "amd64"}, "read write close clone ptrace arch_prctl", []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32}},
		{Host{Arch: "arm64"}, "read write close clone ptrace", []specs.Arch{specs.ArchAARCH64, specs.ArchARM}},
		{Host{Arch: "s390x"}, "read write close ptrace", nil},
		{Host{Arch: "amd64", Capabilities: []string{"CAP_SYS_ADMIN"}}, "read write close mount ptrace arch_prctl", []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32}},
		{Host{Arch: "arm64", Kernel: [2]int{4, 7}}, "read write close clone umask", []specs.Arch{specs.ArchAARCH64, specs.ArchARM}},
		{Host{Arch: "arm64", Kernel: [2]int{4, 8}}, "read write close clone ptrace", []specs.Arch{specs.ArchAARCH64, specs.ArchARM}},
	} {
		p, err := ParseProfile([]byte(docker), tt.host)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(allowed(p), " "); got != tt.want || !slices.Equal(p.Architectures, tt.archs) {
			t.Errorf("%+v: %s on %v, want %s on %v", tt.host, got, p.Architectures, tt.want, tt.archs)
		}
	}
}

// TestDockerProfileWorks asks the program that comes out.
func TestDockerProfileWorks(t *testing.T) {
	a := needTables(t)
	p, err := ParseProfile([]byte(docker), Host{})
	if err != nil {
		t.Fatal(err)
	}
	const eperm, enosys = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM), unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	for _, tt := range []struct {
		name string
		arg  uint64
		want uint32
	}{
		{"read", 0, unix.SECCOMP_RET_ALLOW}, {"close", 0, unix.SECCOMP_RET_ALLOW}, {"mount", 0, eperm}, {"clone3", 0, enosys},
		{"clone", 17, unix.SECCOMP_RET_ALLOW}, {"clone", unix.CLONE_NEWUSER | 17, eperm}, {"reboot", 0, eperm},
	} {
		if got := answer(t, p, a.audit, number(t, a, tt.name), tt.arg); got != tt.want {
			t.Errorf("%s(%#x): %#x, want %#x", tt.name, tt.arg, got, tt.want)
		}
	}
}

func TestParseProfileRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"": "unexpected end", "{}": "no defaultAction", "[]": "cannot unmarshal", `{"defaultAction":"SCMP_ACT_NOTHING"}`: "not supported",
		`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}`:                      "both",
		`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_NOTIFY"}]}`:                                             "not supported",
		`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":9,"op":"SCMP_CMP_EQ"}]}]}`:      "argument 9",
		`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","includes":{"minKernel":"new"}}]}`:               "minKernel",
		`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"op":"SCMP_CMP_ROUGHLY"}]}]}`: "not supported",
	} {
		if len(architectures) == 0 && want == "not supported" {
			continue // nothing is compiled
		}
		if p, err := ParseProfile([]byte(text), Host{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %q", text, p, err, want)
		}
	}
}

// TestOCIProfileIsKept: a profile of the specification's own format passes as it is.
func TestOCIProfileIsKept(t *testing.T) {
	p, err := ParseProfile([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],"flags":["SECCOMP_FILTER_FLAG_LOG"],"syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":5}]}`), Host{})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Syscalls) != 1 || *p.Syscalls[0].ErrnoRet != 5 || len(p.Flags) != 1 || p.Architectures[0] != specs.ArchX86_64 {
		t.Errorf("%+v", p)
	}
}

func FuzzParseProfile(f *testing.F) {
	f.Add([]byte(docker))
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ALLOW"}`))
	f.Fuzz(func(t *testing.T, data []byte) { ParseProfile(data, Host{Arch: "amd64"}) })
}
