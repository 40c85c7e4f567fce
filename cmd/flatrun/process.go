package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/flatrun/flatrun/runtime"
	"github.com/flatrun/flatrun/runtime/gpu"
	"github.com/flatrun/flatrun/runtime/singularity"
)

// process finds the words and the environment of the command.
func (c *container) process(request *runtime.Request) (singularity.Process, error) {
	settings, err := c.settings(request)
	if err != nil {
		return singularity.Process{}, err
	}
	root, err := singularity.OpenRoot(c.image.Root, c.covers(request)...)
	if err != nil {
		return singularity.Process{}, err
	}
	defer root.Close()
	if err := c.checkDirectory(request, root); err != nil {
		return singularity.Process{}, err
	}
	return c.prepare(settings, root)
}

func (c *container) prepare(settings singularity.Settings, root *singularity.Root) (singularity.Process, error) {
	process, err := singularity.Prepare(settings, root)
	if process.Shell != nil {
		c.log.debugf("Environment is evaluated by the image's own shell: %s", process.Shell)
	}
	if c.drivers && process.Shell == nil {
		process.Env = gpu.Environment(process.Env, c.image.Root)
	}
	var missing *singularity.ActionError
	var exit *singularity.Exit
	switch {
	case errors.As(err, &missing):
		return process, scriptError{missing.Reason}
	case errors.As(err, &exit):
		return process, exitCode(exit.Code)
	}
	return process, err
}

// settings are what the image's conventions need to know.
func (c *container) settings(request *runtime.Request) (singularity.Settings, error) {
	o := c.options
	s := singularity.Settings{
		Action: c.action, Args: c.args, Environ: c.environ,
		CleanEnv: o.CleanEnv, NoEval: o.NoEval, NoEnv: o.NoEnv, Env: o.Env,
		Container: c.image.Shown, Name: filepath.Base(c.image.Shown), Bind: nestedBinds(c.binds),
		Home: c.homeInside(request), Dir: request.Cwd, App: o.App, Shell: o.Shell,
		Config: c.image.Config, Log: c.slog(),
	}
	if s.Dir == "" {
		s.Dir = c.host.Cwd
	}
	if c.background != nil {
		s.Instance = c.background.name
	}
	if c.drivers {
		s.Libraries = gpu.LibraryDirs(c.image.Root)
	}
	c.log.verbosef("Setting HOME=%s", s.Home)
	c.log.verbosef("Image directory is %s", c.image.Root)
	var err error
	if s.Timeout, err = o.timeout(); err != nil {
		return s, err
	}
	s.EnvFiles, err = o.readEnvFiles()
	return s, err
}

// covers tells what will hide parts of the image when the container runs: known
// for binds, unknown for what the runtime mounts.
func (c *container) covers(request *runtime.Request) []singularity.Cover {
	var covers []singularity.Cover
	for _, target := range [...]string{"/proc", "/sys", "/dev", "/tmp", "/var/tmp", "/cvmfs", "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/resolv.conf", "/etc/localtime"} {
		covers = append(covers, singularity.Cover{Target: target})
	}
	for _, target := range []string{c.homeInside(request), c.host.Cwd} {
		if target != "/" && target != "" {
			covers = append(covers, singularity.Cover{Target: target})
		}
	}
	for _, target := range request.Scratch {
		covers = append(covers, singularity.Cover{Target: target})
	}
	for _, b := range request.Sites {
		covers = append(covers, singularity.Cover{Target: b.Target, Source: b.Source})
	}
	for _, b := range request.Binds {
		target := b.Target
		if target == "" {
			target = b.Source
		}
		covers = append(covers, singularity.Cover{Target: target, Source: b.Source})
	}
	for _, o := range request.Overlays {
		covers = append(covers, overlaid(o.Path)...)
	}
	return covers
}

// overlaid are the parts of the image that an overlay has something to say about.
func overlaid(dir string) []singularity.Cover {
	if _, err := os.Stat(filepath.Join(dir, "upper")); err == nil {
		dir = filepath.Join(dir, "upper")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return []singularity.Cover{{Target: "/"}}
	}
	var covers []singularity.Cover
	for _, entry := range entries {
		covers = append(covers, singularity.Cover{Target: "/" + entry.Name()})
	}
	return covers
}

// homeInside is the home directory that the command finds in $HOME.
func (c *container) homeInside(request *runtime.Request) string {
	switch home := request.Home; {
	case home.Target != "":
		return home.Target
	case home.Source != "":
		return home.Source
	case c.options.Fakeroot:
		return "/root"
	}
	return strings.TrimSuffix(c.host.Home, "/.")
}
