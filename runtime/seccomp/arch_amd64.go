package seccomp

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// x32 system calls carry this bit; kernels without that interface answer ENOSYS, and so does every filter.
const x32Bit = 0x40000000

// architectures lists the native one first.
var architectures = []architecture{
	{specs.ArchX86_64, unix.AUDIT_ARCH_X86_64, callsAmd64, x32Bit},
	{specs.ArchX86, unix.AUDIT_ARCH_I386, calls386, 0},
}
