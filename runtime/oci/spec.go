package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	selinux "github.com/opencontainers/selinux/go-selinux"
)

const (
	configFile    = "config.json"
	maxConfigSize = 16 << 20 // real ones have a few ten kilobytes
)

// ReadBundle reads a bundle's configuration.
func ReadBundle(dir string) (*specs.Spec, error) {
	f, err := os.Open(filepath.Join(dir, configFile))
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	defer f.Close()
	spec, err := ReadSpec(f)
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %s: %w", dir, configFile, err)
	}
	return spec, nil
}

// ReadSpec reads a configuration and refuses what no container can be made from. Newer minor versions only add fields,
// so every 1.x is read, whatever this program was built with.
func ReadSpec(r io.Reader) (*specs.Spec, error) {
	var spec *specs.Spec
	if err := json.NewDecoder(io.LimitReader(r, maxConfigSize)).Decode(&spec); err != nil {
		return nil, err
	}
	switch {
	case spec == nil:
		return nil, errors.New("it holds null")
	case !strings.HasPrefix(spec.Version, "1."):
		return nil, fmt.Errorf("ociVersion %q is not supported: it must be 1.x", spec.Version)
	case spec.Root == nil || spec.Root.Path == "":
		return nil, errors.New("root.path is missing")
	}
	if spec.Linux != nil && spec.Linux.Seccomp != nil && !seccomp.Enabled {
		return nil, errors.New("linux.seccomp is asked for, but this program was built without libseccomp: build with -tags seccomp")
	}
	return spec, checkProcess(spec.Process)
}

// checkProcess refuses a process that cannot be started.
func checkProcess(p *specs.Process) error {
	switch {
	case p == nil:
		return errors.New("process is missing")
	case !filepath.IsAbs(p.Cwd):
		return fmt.Errorf("process.cwd %q is not an absolute path", p.Cwd)
	case len(p.Args) == 0:
		return errors.New("process.args is empty")
	case p.SelinuxLabel != "" && !selinux.GetEnabled():
		return errors.New("process.selinuxLabel is set, but this host has no SELinux")
	}
	return nil
}
