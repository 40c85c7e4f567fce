package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/utils"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// ExecRequest asks for one more process in a running container: the one in ProcessFile, or that of the bundle with what
// is named here in its place.
type ExecRequest struct {
	IO
	ID             string
	ProcessFile    string // a process object in JSON
	Args           []string
	Env            []string // K=V, added
	Cwd            string   // "" = the bundle's
	User           string   // UID or UID:GID, numbers
	AdditionalGIDs []uint32
	Capabilities   []string // added, as CAP_X
	NoNewPrivs     *bool    // nil = the bundle's
	Terminal       bool
	AppArmor       string
	Label          string
	IgnorePaused   bool
}

// Exec runs a process in a container and returns its exit status, 0 if it is detached.
func (r *Runtime) Exec(q ExecRequest) (int, error) {
	c, done, err := r.loadToEnter(q.ID)
	defer done()
	if err != nil {
		return 0, err
	}
	status, err := c.Status()
	switch {
	case err != nil:
		return 0, fmt.Errorf("container %q: %w", q.ID, err)
	case status == libcontainer.Stopped:
		return 0, fmt.Errorf("container %q is stopped: nothing can be run in it", q.ID)
	case status == libcontainer.Paused && !q.IgnorePaused:
		return 0, fmt.Errorf("container %q is paused: resume it first", q.ID)
	}
	p, err := q.process(c)
	if err != nil {
		return 0, err
	}
	if config := c.Config(); config.RootlessEUID {
		dropGroups(&p.User)
	}
	if err := checkUser(c, p.User); err != nil {
		return 0, fmt.Errorf("container %q: %w", q.ID, err)
	}
	return q.launch(p, false, c.Run)
}

// checkUser says which ID is not mapped; libcontainer would say that a stream could not be chowned.
func checkUser(c *libcontainer.Container, u specs.User) error {
	config := c.Config()
	if !config.Namespaces.IsPrivate(configs.NEWUSER) {
		return nil
	}
	if _, err := config.HostUID(int(u.UID)); err != nil {
		return fmt.Errorf("uid %d: %w", u.UID, err)
	}
	if _, err := config.HostGID(int(u.GID)); err != nil {
		return fmt.Errorf("gid %d: %w", u.GID, err)
	}
	return nil
}

// process reads the file, or changes the bundle's process.
func (q *ExecRequest) process(c *libcontainer.Container) (*specs.Process, error) {
	if q.ProcessFile != "" {
		return readProcess(q.ProcessFile)
	}
	config := c.Config()
	bundle, found := utils.SearchLabels(config.Labels, "bundle")
	if !found {
		return nil, fmt.Errorf("container %q does not say where its bundle is", q.ID)
	}
	spec, err := ReadBundle(bundle)
	if err != nil {
		return nil, err
	}
	p := spec.Process
	if err := q.override(p); err != nil {
		return nil, err
	}
	return p, checkProcess(p)
}

func readProcess(file string) (*specs.Process, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("process: %w", err)
	}
	var p *specs.Process
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("process %s: %w", file, err)
	}
	return p, checkProcess(p)
}

// override puts what the request names in place of the bundle's. The terminal is not inherited: exec is called by
// scripts in containers that have one.
func (q *ExecRequest) override(p *specs.Process) error {
	p.Args, p.Env, p.Terminal = q.Args, append(p.Env, q.Env...), q.Terminal
	p.User.AdditionalGids = append(p.User.AdditionalGids, q.AdditionalGIDs...)
	for to, value := range map[*string]string{&p.Cwd: q.Cwd, &p.ApparmorProfile: q.AppArmor, &p.SelinuxLabel: q.Label} {
		if value != "" {
			*to = value
		}
	}
	if q.NoNewPrivs != nil {
		p.NoNewPrivileges = *q.NoNewPrivs
	}
	if len(q.Capabilities) > 0 {
		if p.Capabilities == nil {
			p.Capabilities = &specs.LinuxCapabilities{}
		}
		for _, set := range []*[]string{&p.Capabilities.Bounding, &p.Capabilities.Permitted, &p.Capabilities.Effective} {
			*set = append(*set, q.Capabilities...)
		}
	}
	return parseUser(q.User, &p.User)
}

// parseUser reads UID or UID:GID; the names of the image are the caller's to look up, as the specification has it.
func parseUser(text string, u *specs.User) error {
	if text == "" {
		return nil
	}
	uid, gid, both := strings.Cut(text, ":")
	for _, part := range []struct {
		text string
		to   *uint32
	}{{uid, &u.UID}, {gid, &u.GID}} {
		if part.to == &u.GID && !both {
			break
		}
		n, err := strconv.ParseUint(part.text, 10, 32)
		if err != nil {
			return errors.New("user " + strconv.Quote(text) + " is not of the form UID or UID:GID")
		}
		*part.to = uint32(n)
	}
	return nil
}
