package main

import (
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/runtime/seccomp"
)

// readSeccomp reads a profile in the format of the OCI runtime specification, or
// of Docker. What Docker's makes depend on capabilities is decided by those that
// the command will have within its user namespace.
func (o *options) readSeccomp(file string) (*specs.LinuxSeccomp, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fatal("seccomp profile %s: %w", file, err.(*os.PathError).Err)
	}
	host := seccomp.Host{Kernel: kernelVersion()}
	without := &specs.LinuxCapabilities{}
	if o.Fakeroot {
		without = nil
	}
	host.Capabilities = o.capabilitiesFrom(without, func(string, string) {}) // told elsewhere
	profile, err := seccomp.ParseProfile(data, host)
	if err != nil {
		return nil, fatal("seccomp profile %s: %w", file, err)
	}
	return profile, nil
}

// kernelVersion is that of the running kernel; zero if it has no numbers.
func kernelVersion() (v [2]int) {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return v
	}
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &v[0], &v[1]); n != 2 {
		return [2]int{}
	}
	return v
}
