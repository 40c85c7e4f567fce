package seccomp

import (
	"encoding/json"
	"errors"
	"fmt"
	goruntime "runtime"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Host is what rules of Docker's format depend on.
type Host struct {
	Arch         string   // as Go calls it; "" = this one's
	Capabilities []string // of the process, such as CAP_SYS_ADMIN
	Kernel       [2]int   // version; zero = newer than any
}

// profile is a file in Docker's format, of which that of the OCI specification is a part.
type profile struct {
	specs.LinuxSeccomp
	ArchMap []struct {
		Architecture     specs.Arch
		SubArchitectures []specs.Arch
	}
	Syscalls []rule `json:"syscalls"`
}

type rule struct {
	specs.LinuxSyscall
	Name               string // in the oldest files
	Includes, Excludes filter
}

// filter is what a rule is for, or not for.
type filter struct {
	Caps, Arches []string
	MinKernel    string
}

// ParseProfile reads a filter: the JSON of the OCI specification, or of Docker with its conditions. The filter is
// compiled once to see that it can be, so what is wrong with it is said before anything is started.
func ParseProfile(data []byte, h Host) (*specs.LinuxSeccomp, error) {
	var p profile
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, err
	}
	if p.DefaultAction == "" {
		return nil, errors.New("it has no defaultAction, so it is no profile")
	}
	if h.Arch == "" {
		h.Arch = goruntime.GOARCH
	}
	out := p.LinuxSeccomp
	if len(p.ArchMap) > 0 && len(out.Architectures) > 0 {
		return nil, errors.New("it has both architectures and archMap")
	}
	for _, m := range p.ArchMap {
		if m.Architecture == archName(h.Arch) {
			out.Architectures = append([]specs.Arch{m.Architecture}, m.SubArchitectures...)
		}
	}
	for _, r := range p.Syscalls {
		if r.Name != "" {
			r.Names = append(r.Names, r.Name)
		}
		applies, err := r.applies(h)
		if err != nil {
			return nil, fmt.Errorf("rule of %v: %w", r.Names, err)
		}
		if applies {
			out.Syscalls = append(out.Syscalls, r.LinuxSyscall)
		}
	}
	if _, err := Compile(&out); err != nil && !errors.Is(err, ErrUnsupported) {
		return nil, err
	}
	return &out, nil
}

// archName translates Go's name.
func archName(goarch string) specs.Arch {
	switch goarch {
	case "amd64":
		return specs.ArchX86_64
	case "386":
		return specs.ArchX86
	case "arm64":
		return specs.ArchAARCH64
	case "arm":
		return specs.ArchARM
	case "ppc64le":
		return specs.ArchPPC64LE
	case "s390x":
		return specs.ArchS390X
	case "riscv64":
		return specs.ArchRISCV64
	}
	return ""
}

// applies decides as Docker does: all that is included must be there, and nothing that is excluded.
func (r *rule) applies(h Host) (bool, error) {
	in, out := r.Includes, r.Excludes
	for _, c := range out.Caps {
		if slices.Contains(h.Capabilities, c) {
			return false, nil
		}
	}
	for _, c := range in.Caps {
		if !slices.Contains(h.Capabilities, c) {
			return false, nil
		}
	}
	if slices.Contains(out.Arches, h.Arch) || len(in.Arches) > 0 && !slices.Contains(in.Arches, h.Arch) {
		return false, nil
	}
	reached, err := h.reaches(in.MinKernel)
	if err != nil || in.MinKernel != "" && !reached {
		return false, err
	}
	reached, err = h.reaches(out.MinKernel)
	return out.MinKernel == "" || !reached, err
}

// reaches reports whether the kernel is of this version or newer.
func (h Host) reaches(version string) (bool, error) {
	if version == "" {
		return false, nil
	}
	var v [2]int
	if n, _ := fmt.Sscanf(version, "%d.%d", &v[0], &v[1]); n != 2 {
		return false, fmt.Errorf("minKernel %q is no version", version)
	}
	return h.Kernel == [2]int{} || slices.Compare(h.Kernel[:], v[:]) >= 0, nil
}
