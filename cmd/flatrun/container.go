package main

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"

	"github.com/flatrun/flatrun/mount/config/site"
	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/runtime"
	"github.com/flatrun/flatrun/runtime/image"
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
		c.host.Cwd = cmp.Or(c.host.Home, "/")
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
	c.applyCapabilities(spec.Process)
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
	return runtime.Start(spec, runtime.Extras{Env: c.environ, Log: c.slog()})
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

// find gets the image's directory and configuration.
func (c *container) find() error {
	session := c.state.Session
	if session != nil {
		session.Follow = c.options.Follow
		if c.action == "exec" && len(c.args) > 0 {
			session.Program = c.args[0]
		}
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
