package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/runtime"
	"github.com/flatrun/flatrun/runtime/image"
	"github.com/flatrun/flatrun/runtime/instance"
	"github.com/flatrun/flatrun/runtime/singularity"
)

// joinVariable names a descriptor with what a process that has entered a running
// container cannot see any more.
const joinVariable = "FLATRUN_JOIN_FD"

// joining is what is known outside.
type joining struct {
	instance.State
	Cwd string // the caller's working directory
}

// joinInstance runs the action in an instance.
func (c *container) joinInstance() error {
	_, name, err := image.Classify(c.arg)
	if err != nil {
		return err
	}
	if c.options.Follow {
		c.log.verbosef("--follow changes nothing: the instance was started with or without it")
	}
	store, err := instance.Open()
	if err != nil {
		return err
	}
	state, err := store.Get(name)
	if err != nil {
		return err
	}
	return c.handOver(state)
}

// handOver enters the container by starting this program once more; it returns
// only with an error.
func (c *container) handOver(state instance.State) error {
	cwd, err := os.Getwd()
	if err != nil {
		cwd = "/"
	}
	text, err := json.Marshal(joining{state, cwd})
	if err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("flatrun-join", 0)
	if err != nil {
		return fatal("hand over to the container: %w", err)
	}
	if _, err := unix.Pwrite(fd, text, 0); err != nil {
		return fatal("hand over to the container: %w", err)
	}
	if state.Cgroup != "" {
		err := os.WriteFile(filepath.Join(state.Cgroup, "cgroup.procs"), []byte("0"), 0)
		if errors.Is(err, fs.ErrNotExist) { // an empty group may be removed by whoever sees it
			c.log.warnf("The resource limits of the container went with the program that it was started for")
		} else if err != nil {
			return fatal("enter the container's resource limits: %w", err)
		}
	}
	os.Setenv(joinVariable, strconv.Itoa(fd))
	runtime.KeepSignals()
	return enter.Reexec(enter.Plan{Process: state.PID})
}

// handed is what handOver has written, or nil in a process that has entered nothing.
func (c *container) handed() (*joining, error) {
	fd, err := strconv.Atoi(c.getenv(joinVariable))
	state := enter.Current()
	if err != nil || fd < 3 || state.Plan == nil || state.Plan.Process == 0 {
		return nil, nil
	}
	if state.Err != nil {
		return nil, state.Err
	}
	c.state = state
	f := os.NewFile(uintptr(fd), "flatrun-join")
	defer f.Close()
	j := &joining{}
	if _, err := f.Seek(0, 0); err != nil {
		return nil, err
	}
	if err := json.NewDecoder(f).Decode(j); err != nil || j.Spec == nil || j.Spec.Process == nil {
		return nil, errors.New("what was handed over to the container cannot be read")
	}
	return j, nil
}

// join becomes the command in the container that this process has entered.
func (c *container) join(j *joining) error {
	c.log.release()
	if c.options.ShareNS {
		var err error
		if c.binds, err = c.options.parseBinds(); err != nil { // for containers inside
			return err
		}
	}
	c.host, _ = runtime.ReadHost(c.state.UID, c.state.GID) // the directory is in j
	c.host.Cwd = j.Cwd
	c.image = &image.Image{Arg: c.arg, Root: "/", Shown: j.Image, Config: j.Config}
	c.options.Fakeroot = false // as the container is
	request := &runtime.Request{Cwd: c.options.initialDir(), Home: runtime.Home{Target: runtime.HomeInside(j.Spec)}}
	if request.Home.Target == "" {
		request.Home.Target = "/"
	}
	if request.Cwd == "" {
		request.Cwd = firstDirectory(j.Cwd, request.Home.Target)
	} else if info, err := os.Stat(request.Cwd); err != nil || !info.IsDir() {
		return fatal("failed to set working directory: %s: no such directory in the container", request.Cwd)
	}
	process, err := c.processIn(request, j.Name)
	if err != nil || len(process.Args) == 0 {
		return err
	}
	spec := *j.Spec
	words := *spec.Process
	words.Args, words.Env, words.Cwd = process.Args, process.Env, request.Cwd
	spec.Process = &words
	c.applyCapabilities(spec.Process)
	return runtime.Join(&spec, runtime.Extras{Log: c.slog()})
}

// processIn finds words and environment by looking at the container itself.
func (c *container) processIn(request *runtime.Request, name string) (singularity.Process, error) {
	settings, err := c.settings(request)
	if err != nil {
		return singularity.Process{}, err
	}
	settings.Instance = name
	root, err := singularity.OpenRoot("/")
	if err != nil {
		return singularity.Process{}, err
	}
	defer root.Close()
	return c.prepare(settings, root)
}

// firstDirectory is the first of the directories that is there, or the root.
func firstDirectory(dirs ...string) string {
	for _, dir := range dirs {
		if info, err := os.Stat(dir); err == nil && info.IsDir() && filepath.IsAbs(dir) {
			return dir
		}
	}
	return "/"
}
