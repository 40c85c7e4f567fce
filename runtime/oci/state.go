package oci

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/utils"
	"github.com/sirupsen/logrus"
)

// State is a container as state and list print it: the specification's state, and what callers of runc read besides.
type State struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	PID         int               `json:"pid"` // 0 once it has stopped
	Status      string            `json:"status"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Owner       string            `json:"owner"`
}

// State describes one container.
func (r *Runtime) State(id string) (State, error) {
	c, err := r.load(id)
	if err != nil {
		return State{}, err
	}
	return r.describe(c)
}

// List describes all containers. One that cannot be read is left out with a warning: it may just be in the making.
func (r *Runtime) List() ([]State, error) {
	entries, err := os.ReadDir(r.Root)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	list := []State{}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		s, err := r.State(e.Name())
		if err != nil {
			logrus.Warn(err)
			continue
		}
		list = append(list, s)
	}
	return list, nil
}

func (r *Runtime) describe(c *libcontainer.Container) (State, error) {
	oci, err := c.OCIState()
	if err != nil {
		return State{}, fmt.Errorf("container %q: %w", c.ID(), err)
	}
	state, err := c.State()
	if err != nil {
		return State{}, fmt.Errorf("container %q: %w", c.ID(), err)
	}
	bundle, annotations := utils.Annotations(state.Config.Labels)
	return State{
		Version: oci.Version, ID: c.ID(), PID: oci.Pid, Status: string(oci.Status), Bundle: bundle,
		Rootfs: state.Config.Rootfs, Created: state.Created, Annotations: annotations, Owner: r.owner(c.ID()),
	}, nil
}

// owner names whose state directory it is, "#UID" if that user has no name.
func (r *Runtime) owner(id string) string {
	info, err := os.Stat(r.Root + "/" + id)
	if err != nil {
		return ""
	}
	uid := strconv.FormatUint(uint64(info.Sys().(*syscall.Stat_t).Uid), 10)
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return "#" + uid
}
