package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"

	"github.com/flatrun/flatrun/mount/config/site"
	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/runtime"
	"github.com/flatrun/flatrun/runtime/gpu"
	"github.com/flatrun/flatrun/runtime/image"
	"github.com/flatrun/flatrun/runtime/singularity"
)

func runExec(p *program, o *options, args []string) error {
	return p.runContainer(o, "exec", args[0], args[1:])
}

func runRun(p *program, o *options, args []string) error {
	return p.runContainer(o, "run", args[0], args[1:])
}

func runShell(p *program, o *options, args []string) error {
	if len(args) > 1 {
		p.log.warnf("Parameters to shell command are ignored")
	}
	return p.runContainer(o, "shell", args[0], nil)
}

func runTest(p *program, o *options, args []string) error {
	return p.runContainer(o, "test", args[0], args[1:])
}

// container is one start: what was asked for and what was found out about it.
type container struct {
	*program
	options *options
	action  string
	args    []string // words after IMAGE
	arg     string   // IMAGE
	kind    image.Kind
	binds   []userBind
	image   *image.Image
	kept    []runtime.Repository // those of which the container keeps a revision
	state   enter.State
	host    runtime.Host
	site    *site.Runtime // nil: nobody has written any directives
	drivers bool          // libraries of the host's are bound

	background *background // nil: the caller's process becomes the command
	sharing    *sharing    // nil: nobody else enters
	cgroup     string      // directory of the control group with the limits, if there is one
}

// runContainer becomes the command; it returns only with an error, or when there
// is nothing to run. Until the namespaces are entered, which may start this
// program once more, messages are held back so that none is printed twice.
func (p *program) runContainer(o *options, action, arg string, args []string) error {
	c := &container{program: p, options: o, action: action, arg: arg, args: args}
	return c.run()
}

func (c *container) run() error {
	c.log.hold = true
	switch j, err := c.handed(); {
	case err != nil && c.options.ShareNS:
		return c.shareAgain(err)
	case err != nil:
		return err
	case j != nil:
		return c.join(j)
	}
	if err := c.check(); err != nil {
		return err
	}
	if c.kind == image.Instance {
		return c.joinInstance()
	}
	if c.options.ShareNS && c.background == nil {
		if err := c.share(); err != nil {
			return err
		}
	}
	if err := c.enter(); err != nil {
		return err
	}
	c.log.release()
	if err := c.enterLimits(); err != nil {
		return err
	}
	if err := c.find(); err != nil {
		return err
	}
	if err := c.checkSite(); err != nil {
		return err
	}
	var err error
	if c.host, err = runtime.ReadHost(c.state.UID, c.state.GID); err != nil {
		c.log.warnf("can't determine current working directory: %s", err)
		c.host.Cwd = "/"
	}
	request, err := c.request()
	if err != nil {
		return err
	}
	process, err := c.process(request)
	if err != nil || len(process.Args) == 0 && c.background == nil {
		return err
	}
	request.Args, request.Env = process.Args, process.Env
	if len(request.Args) == 0 {
		c.background.idle, request.Args = true, []string{"nothing"}
	}
	spec, err := runtime.Spec(*request, c.host)
	if err != nil {
		return err
	}
	c.dropCapabilities(spec)
	if c.background != nil {
		return c.startBackground(spec)
	}
	if c.sharing != nil {
		return c.startShared(spec)
	}
	goruntime.LockOSThread() // the setting is the thread's, and this one becomes the command
	if err := c.state.DieWithParent(); err != nil {
		return fatal("end with the process that waits outside: %w", err)
	}
	return runtime.Start(spec, runtime.Extras{Log: c.slog()})
}

// check looks at the command line as a whole before anything is touched.
func (c *container) check() error {
	var err error
	if c.kind, _, err = image.Classify(c.arg); err != nil {
		return err
	}
	if c.kind == image.Instance {
		return nil
	}
	if err := c.applySite(); err != nil {
		return err
	}
	if c.binds, err = c.options.parseBinds(); err != nil {
		return err
	}
	if err := c.checkPrivileges(); err != nil {
		return err
	}
	if err := c.readLimits(); err != nil {
		return err
	}
	return c.checkNetwork()
}

// enter gets into the namespaces; it may start a session and this program again.
func (c *container) enter() error {
	o := c.options
	needed := c.kind == image.Repository || len(c.unmounted()) > 0
	plan := enter.Plan{Join: needed || enter.IsRank() && !o.Fakeroot, Init: o.PID && !o.NoInit, Fakeroot: o.Fakeroot}
	for _, n := range []struct {
		on bool
		ns enter.Namespaces
	}{{o.PID, enter.PID}, {o.IPC, enter.IPC}, {o.UTS, enter.UTS}, {o.Net, enter.Net}} {
		if n.on {
			plan.New |= n.ns
		}
	}
	if o.Fakeroot && !plan.Join {
		plan.UIDs, plan.GIDs = c.subordinateIDs()
	}
	if c.background != nil {
		c.background.plan(&plan)
	}
	if c.sharing != nil {
		c.sharing.plan(&plan)
	}
	start := enter.StartOptions{Config: c.config, Before: runtime.KeepSignals}
	state, err := enter.Ensure(context.Background(), plan, start)
	if err != nil && plan.Join && !needed {
		c.log.verbosef("No user namespace in common with other ranks or processes: %s", err)
		plan.Join = false
		state, err = enter.Ensure(context.Background(), plan, start)
	}
	if err != nil {
		return err
	}
	c.state = state
	if c.sharing != nil {
		if err := c.sharing.entered(state); err != nil {
			return err
		}
	}
	if c.background != nil {
		if err := c.background.entered(); err != nil {
			return err
		}
	}
	c.log.debugf("%s, image %s, new namespaces %#x", c.versionLine(), c.arg, uint32(state.New))
	return nil
}

// subordinateIDs are the maps of --fakeroot; none means that the caller's own id
// is all there is. After the plan was carried out the account cannot be asked
// any more, as the caller is root then.
func (c *container) subordinateIDs() (uids, gids []enter.IDMap) {
	if plan := enter.Current().Plan; plan != nil {
		return plan.UIDs, plan.GIDs
	}
	uids, gids, err := enter.SubIDs()
	if err != nil {
		c.log.debugf("fakeroot maps one id only: %s", err)
		return nil, nil
	}
	return uids, gids
}

// find gets the image's directory and configuration.
func (c *container) find() error {
	session := c.state.Session
	if session != nil {
		session.Follow = c.options.Follow
	}
	err := c.mountBinds()
	if err != nil {
		return err
	}
	if c.kind == image.Directory {
		if c.image, err = image.FromDirectory(c.arg); err != nil {
			return err
		}
		return c.keepRevisions()
	}
	if session == nil {
		return errors.New("no session answers; see flatrun status")
	}
	found, err := session.Resolve(c.arg)
	if err != nil {
		return err
	}
	c.image, err = image.FromPlace(c.arg, image.Place{
		Path: found.Path, Layers: found.Layers, Name: found.Name, FQRN: found.FQRN, Revision: found.Revision, Config: found.Config,
		Shown: shown(c.arg, found),
	})
	if err != nil {
		return err
	}
	return c.keepRevisions()
}

// keepRevisions asks where the session shows the revisions that repositories have now. What it mounts later has none that
// the container began with.
func (c *container) keepRevisions() error {
	if c.state.Session == nil {
		return nil
	}
	all, err := c.state.Session.Revisions()
	for _, r := range all {
		c.kept = append(c.kept, runtime.Repository{Name: r.FQRN, Dir: r.Dir})
	}
	return err
}

// shown is the path by which users know an image: the one they gave, or the link
// that a repository has for an image's name.
func shown(arg string, found enter.Resolved) string {
	if rest, ok := strings.CutPrefix(arg, "cvmfs://"); ok {
		return filepath.Join("/cvmfs", rest)
	}
	if strings.HasPrefix(arg, "/") {
		return filepath.Clean(arg)
	}
	if found.Name != "" {
		if _, err := os.Lstat(filepath.Join(found.Source, found.Name)); err == nil {
			return filepath.Join("/cvmfs", found.FQRN, found.Name)
		}
	}
	return filepath.Join("/cvmfs", found.FQRN, found.InRepo)
}

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
