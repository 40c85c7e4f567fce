package seccomp

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// architectures lists the native one first.
var architectures = []architecture{
	{specs.ArchAARCH64, unix.AUDIT_ARCH_AARCH64, callsArm64, 0},
	{specs.ArchARM, unix.AUDIT_ARCH_ARM, callsArm, 0},
}
