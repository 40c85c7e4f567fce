package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// hooksFile keeps in a container's state the hooks that follow its process. libcontainer would run poststart at the end
// of the creation, before the process, and give up at a poststop that fails; the specification has it otherwise.
const hooksFile = "hooks.json"

// takeHooks takes those hooks away from libcontainer.
func takeHooks(spec *specs.Spec) specs.Hooks {
	if spec.Hooks == nil {
		return specs.Hooks{}
	}
	taken := specs.Hooks{Poststart: spec.Hooks.Poststart, Poststop: spec.Hooks.Poststop}
	spec.Hooks.Poststart, spec.Hooks.Poststop = nil, nil
	return taken
}

// keepHooks writes them to a container's state directory.
func (r *Runtime) keepHooks(id string, hooks specs.Hooks) error {
	if len(hooks.Poststart)+len(hooks.Poststop) == 0 {
		return nil
	}
	data, err := json.Marshal(hooks)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.Root, id, hooksFile), data, 0o600)
}

// hooks reads them back, with the state that they are told.
func (r *Runtime) hooks(c *libcontainer.Container) (hooks specs.Hooks, state *specs.State, err error) {
	data, err := os.ReadFile(filepath.Join(r.Root, c.ID(), hooksFile))
	if errors.Is(err, fs.ErrNotExist) {
		return hooks, nil, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &hooks)
	}
	if err == nil {
		state, err = c.OCIState()
	}
	if err != nil {
		return hooks, nil, fmt.Errorf("hooks of container %q: %w", c.ID(), err)
	}
	return hooks, state, nil
}

// postStart runs the poststart hooks. One that fails ends the container.
func (r *Runtime) postStart(c *libcontainer.Container) error {
	hooks, state, err := r.hooks(c)
	if err != nil {
		return err
	}
	for i, h := range hooks.Poststart {
		if err := runHook(h, state); err != nil {
			return errors.Join(fmt.Errorf("poststart hook %d: %w", i, err), signalContainer(c, unix.SIGKILL, true))
		}
	}
	return nil
}

// postStop runs the poststop hooks of a container that is gone. One that fails is warned about.
func postStop(hooks []specs.Hook, state *specs.State) {
	for i, h := range hooks {
		state.Status, state.Pid = specs.StateStopped, 0
		if err := runHook(h, state); err != nil {
			logrus.Warnf("poststop hook %d: %v", i, err)
		}
	}
}

func runHook(h specs.Hook, state *specs.State) error {
	command := &configs.Command{Path: h.Path, Args: h.Args, Env: h.Env}
	if h.Timeout != nil {
		limit := time.Duration(*h.Timeout) * time.Second
		command.Timeout = &limit
	}
	return configs.NewCommandHook(command).Run(state)
}
