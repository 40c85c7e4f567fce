package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/moby/sys/userns"
	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// Runtime is a state directory and how its containers are made.
type Runtime struct {
	Root          string // state directory: one directory per container below
	SystemdCgroup bool   // let systemd make the control groups
	Rootless      *bool  // ignore missing rights to control groups; nil = unless the caller is the host's root
	Program       string // what messages call this program
	// Repositories are where those show that this host has not mounted, by their names.
	Repositories map[string]string
}

// DefaultRoot is the state directory of a caller who names none. It is made, and refused unless it is the caller's own:
// in /tmp anybody could have made it first, and who writes there decides what kill and exec reach.
func DefaultRoot(getenv func(string) string) (string, error) {
	dir := fmt.Sprintf("/tmp/flatrun-%d", os.Geteuid())
	switch runtimeDir := getenv("XDG_RUNTIME_DIR"); {
	case os.Geteuid() == 0 && !userns.RunningInUserNS():
		dir = "/run/flatrun" // a root shell got by su has the user's XDG_RUNTIME_DIR
	case filepath.IsAbs(runtimeDir):
		dir = filepath.Join(runtimeDir, "flatrun")
	}
	for _, d := range []string{dir, filepath.Join(dir, "oci")} {
		if err := ownDir(d); err != nil {
			return "", fmt.Errorf("state directory: %w; name another with --root", err)
		}
	}
	return filepath.Join(dir, "oci"), nil
}

// ownDir makes dir, or finds it a directory that only the caller can write to.
func ownDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("%s is not a directory", dir)
	case int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to uid %d", dir, st.Uid)
	case st.Mode&0o022 != 0:
		return fmt.Errorf("%s can be written to by others", dir)
	}
	return nil
}

// load finds a container. An id that does not exist is libcontainer.ErrNotExist.
func (r *Runtime) load(id string) (*libcontainer.Container, error) {
	c, err := libcontainer.Load(r.Root, id)
	if err != nil {
		return nil, fmt.Errorf("container %q: %w", id, err)
	}
	return c, nil
}

// loadToEnter finds a container in which a process is to be started; done is to be called when it was. libcontainer starts
// from the container's root as it was when it was made, which for one in a session's repository exists in the session's
// mount namespace only. Where it starts from means nothing to the process, so it is told another place.
func (r *Runtime) loadToEnter(id string) (c *libcontainer.Container, done func(), err error) {
	done = func() {}
	if c, err = r.load(id); err != nil {
		return nil, done, err
	}
	if _, err := os.Stat(c.Config().Rootfs); err == nil {
		return c, done, nil
	}
	dir, err := os.MkdirTemp("", "flatrun-oci-")
	if err != nil {
		return nil, done, err
	}
	done = func() { _ = os.RemoveAll(dir) } // it may hold a copy of this program for as long
	copied := Runtime{Root: dir}
	if err = copied.copyState(r, id, "/"); err == nil {
		c, err = copied.load(id)
	}
	return c, done, err
}

// stateFile is where libcontainer keeps a container's state.
const stateFile = "state.json"

// copyState copies the state of another runtime's container, with another root in its configuration.
func (r *Runtime) copyState(from *Runtime, id, root string) error {
	text, err := os.ReadFile(filepath.Join(from.Root, id, stateFile))
	if err != nil {
		return fmt.Errorf("container %q: %w", id, err)
	}
	var state, config map[string]json.RawMessage
	if err := json.Unmarshal(text, &state); err != nil {
		return fmt.Errorf("container %q: %w", id, err)
	}
	if err := json.Unmarshal(state["config"], &config); err != nil {
		return fmt.Errorf("container %q: %w", id, err)
	}
	if config["rootfs"], err = json.Marshal(root); err == nil {
		state["config"], err = json.Marshal(config)
	}
	if err == nil {
		text, err = json.Marshal(state)
	}
	return errors.Join(err, os.Mkdir(filepath.Join(r.Root, id), 0o700), os.WriteFile(filepath.Join(r.Root, id, stateFile), text, 0o600))
}

// rootlessCgroups decides whether lacking rights to control groups are no error as long as no limits are asked for.
func (r *Runtime) rootlessCgroups() bool {
	if r.Rootless != nil {
		return *r.Rootless
	}
	return os.Geteuid() != 0 || userns.RunningInUserNS()
}
