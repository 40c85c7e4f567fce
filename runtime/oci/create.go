package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
)

// CreateRequest asks for a container from a bundle.
type CreateRequest struct {
	IO
	ID           string
	Bundle       string // "" = the working directory
	NoPivot      bool   // chroot rather than pivot_root, for a root file system in the initial ramdisk
	NoNewKeyring bool   // share the caller's session keyring
	Keep         bool   // Run: leave the container's state behind when it has ended
}

// Create makes a container whose process waits for Start.
func (r *Runtime) Create(q CreateRequest) error {
	q.Detach = true
	c, spec, err := r.prepare(&q)
	if err != nil {
		return err
	}
	if _, err = q.launch(spec.Process, true, c.Start); err != nil {
		return errors.Join(err, r.remove(c))
	}
	return nil
}

// Run makes a container, starts its process and, unless detached, waits for it and removes the container. It returns
// the process's exit status, 128+n if signal n killed it.
func (r *Runtime) Run(q CreateRequest) (int, error) {
	c, spec, err := r.prepare(&q)
	if err != nil {
		return 0, err
	}
	config := c.Config()
	shared := !q.Detach && !config.Namespaces.IsPrivate(configs.NEWPID)
	if shared {
		adopt()
	}
	status, err := q.launch(spec.Process, true, func(p *libcontainer.Process) error {
		if err := c.Run(p); err != nil {
			return err
		}
		return r.postStart(c)
	})
	if shared {
		killOrphans()
	}
	switch {
	case err != nil:
		return 0, errors.Join(err, r.remove(c))
	case !q.Detach && !q.Keep:
		if err := r.remove(c); err != nil {
			logrus.Warnf("remove container %s: %v", q.ID, err)
		}
	}
	return status, nil
}

// Start lets the process of a created container go.
func (r *Runtime) Start(id string) error {
	c, err := r.load(id)
	if err != nil {
		return err
	}
	status, err := c.Status()
	if err != nil {
		return fmt.Errorf("container %q: %w", id, err)
	}
	switch status {
	case libcontainer.Created:
		if err := c.Exec(); err != nil {
			return fmt.Errorf("container %q: %w", id, err)
		}
		return r.postStart(c)
	case libcontainer.Stopped:
		return fmt.Errorf("container %q has ended and cannot be started again", id)
	}
	return fmt.Errorf("container %q is %s already", id, status)
}

// prepare reads the bundle and makes the container's state. It changes the working directory to the bundle, to which
// libcontainer takes every relative path in a configuration to refer.
func (r *Runtime) prepare(q *CreateRequest) (*libcontainer.Container, *specs.Spec, error) {
	for _, path := range []*string{&q.PIDFile, &q.ConsoleSocket, &r.Root} {
		if err := absolute(path); err != nil {
			return nil, nil, err
		}
	}
	if q.Bundle != "" {
		if err := os.Chdir(q.Bundle); err != nil {
			return nil, nil, fmt.Errorf("bundle: %w", err)
		}
	}
	spec, err := ReadBundle(".")
	if err != nil {
		return nil, nil, err
	}
	hooks := takeHooks(spec)
	config, err := r.convert(q, spec)
	if err != nil {
		return nil, nil, err
	}
	c, err := libcontainer.Create(r.Root, q.ID, config)
	if err != nil {
		return nil, nil, fmt.Errorf("container %q: %w", q.ID, err)
	}
	if err := r.keepHooks(q.ID, hooks); err != nil {
		return nil, nil, errors.Join(err, c.Destroy())
	}
	return c, spec, nil
}

func absolute(path *string) error {
	if *path == "" {
		return nil
	}
	abs, err := filepath.Abs(*path)
	*path = abs
	return err
}
