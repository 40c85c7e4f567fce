package singularity

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/flatrun/flatrun/runtime/image"
)

// Settings are what the front end was asked for, as far as environment and
// command are concerned.
type Settings struct {
	Action   string   // exec, run, shell, test, start
	Args     []string // the words after IMAGE
	Environ  []string // the caller's environment
	CleanEnv bool
	NoEval   bool
	NoEnv    []string
	Env      [][2]string // --env, in order
	EnvFiles []EnvFile

	Container string // the image, as an absolute path
	Name      string // its last component
	Bind      string // what is bound, for a container inside this one
	Home      string // the home directory inside
	Dir       string // the initial directory inside
	App       string // SCIF application
	Shell     string // --shell
	Instance  string
	Config    *image.Config // OCI configuration of the image, or nil
	Timeout   time.Duration // for the image's scripts; 0 is a minute
	Log       *slog.Logger  // nil discards

	// Libraries are the directories of the image's loader, for LD_LIBRARY_PATH where nothing but the host's libraries is
	// in it. Without any, the image's ldconfig is asked.
	Libraries []string
}

// Process is what runs in the container.
type Process struct {
	Args []string // empty: there is nothing to run, which is no error
	Env  []string // NAME=value, sorted
	// Shell says that Args is the image's shell, which evaluates the
	// environment scripts first, and why.
	Shell error
}

// ActionError means that the image lacks what the action needs. It ends the
// front end with 1, as the action script of Apptainer does.
type ActionError struct{ Reason string }

func (e *ActionError) Error() string { return e.Reason }

// Exit means that an environment script of the image ended the start with a code.
type Exit struct{ Code int }

func (e *Exit) Error() string { return exited(e.Code).Error() }

// Prepare finds words and environment of the process that runs in root.
func Prepare(s Settings, root *Root) (Process, error) {
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	if s.Timeout <= 0 {
		s.Timeout = time.Minute
	}
	injected, err := s.injections(s.Log)
	if err != nil {
		return Process{}, err
	}
	args, err := s.words(root)
	if err != nil || len(args) == 0 {
		return Process{}, err
	}
	host := s.host(injected)
	if s.Action == "shell" && args[0] != s.Shell {
		host.set("SHELL", args[0])
	}
	e := &evaluation{settings: &s, root: root, host: host, injected: injected}
	env, err := e.run()
	var need needShell
	var code exited
	switch {
	case errors.As(err, &need):
		return e.actionScript(args, need)
	case errors.As(err, &code):
		return Process{}, &Exit{int(code)}
	case err != nil:
		return Process{}, err
	}
	return Process{Args: args, Env: env}, nil
}

// evaluation is one pass over the image's environment.
type evaluation struct {
	settings *Settings
	root     *Root
	host     variables
	injected []setting
	shell    shell
	scripts  []string // those found, in order
	listed   bool
}

const envDir = "/.singularity.d/env"

// run computes the environment, or answers needShell.
func (e *evaluation) run() ([]string, error) {
	e.shell = shell{root: e.root, vars: e.start(), args: e.settings.Args, timeout: e.settings.Timeout}
	scripts, err := e.listScripts()
	if err != nil {
		return nil, err
	}
	if scripts == nil {
		err = e.old()
	} else {
		err = e.source(scripts)
	}
	if err != nil {
		return nil, err
	}
	e.shell.flush()
	vars := e.shell.vars
	e.finishPath(vars)
	e.finishLibraries(vars)
	restore(vars, e.host)
	prompt(vars)
	return vars.environ(), nil
}

// start is what the scripts find set: next to nothing, so that they describe
// the image rather than react to the host.
func (e *evaluation) start() variables {
	vars := make(variables, len(e.host))
	for _, name := range [...]string{"PWD", "HOME", "SINGULARITY_APPNAME", "SINGULARITY_SHELL"} {
		if e.host.has(name) {
			vars[name] = e.host[name]
		}
	}
	for _, name := range frozen {
		if v, ok := e.host[name]; ok {
			v.ReadOnly = true
			vars[name] = v
		}
	}
	return vars
}

// frozen are the names that no script may change.
var frozen = [...]string{"APPTAINER_NAME", "APPTAINER_CONTAINER", "APPTAINER_INSTANCE"}

// listScripts lists the environment scripts; nil means that the image has no
// directory of them.
func (e *evaluation) listScripts() ([]string, error) {
	if e.listed {
		return e.scripts, nil
	}
	entries, err := e.root.readDir(envDir)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errNotDirectory):
		e.listed = true
		return nil, nil
	case errors.Is(err, errUnknown):
		return nil, needShell{err}
	case err != nil:
		return nil, fmt.Errorf("list environment scripts of image %s: %w", e.settings.Container, err)
	}
	e.scripts, e.listed = []string{}, true
	for _, entry := range entries {
		if name := entry.Name(); strings.HasSuffix(name, ".sh") && !strings.HasPrefix(name, ".") {
			e.scripts = append(e.scripts, name)
		}
	}
	if bound := e.boundScripts(); len(bound) > 0 {
		e.scripts = append(e.scripts, bound...)
		slices.Sort(e.scripts)
	}
	return e.scripts, nil
}

// source runs the scripts of .singularity.d/env with the runtime's own steps
// between them.
func (e *evaluation) source(scripts []string) error {
	s := &e.shell
	for _, name := range scripts {
		if name == "99-runtimevars.sh" {
			continue // finishPath does it
		}
		if name == "90-environment.sh" && !s.vars.has("PATH") {
			if err := s.set("PATH", DefaultPath); err != nil {
				return err
			}
		}
		switch err := s.source(envDir + "/" + name); {
		case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, errIsDirectory):
		case errors.Is(err, fs.ErrPermission):
			e.settings.Log.Warn(fmt.Sprintf("Environment script %s of the image is not readable", name))
		default:
			return e.explain(name, err)
		}
		var err error
		switch name {
		case "10-docker2singularity.sh", "10-docker.sh":
			err = s.set("PATH", completePath(s.vars.get("PATH")))
		case "99-base.sh":
			err = e.inject()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// explain adds the script's name to an error that is not an answer.
func (e *evaluation) explain(name string, err error) error {
	var need needShell
	var code exited
	if errors.As(err, &need) || errors.As(err, &code) {
		return err
	}
	return fmt.Errorf("environment script %s of image %s: %w", name, e.settings.Container, err)
}

// old is for images without .singularity.d/env: those of Singularity before
// 2.3 have one file, others come with an OCI configuration or with nothing.
func (e *evaluation) old() error {
	s := &e.shell
	config := e.settings.Config
	switch err := s.source("/environment"); {
	case err == nil:
		if err := s.set("PATH", completePath(s.vars.get("PATH"))); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return e.explain("/environment", err)
	case config != nil:
		for _, kv := range config.Env {
			if name, value, ok := strings.Cut(kv, "="); ok && validName(name) {
				if err := s.set(name, value); err != nil {
					return err
				}
			}
		}
		if err := s.set("PATH", completePath(s.vars.get("PATH"))); err != nil {
			return err
		}
	}
	return e.inject()
}

// inject sets what the user asked for.
func (e *evaluation) inject() error {
	s := &e.shell
	if !s.vars.has("PATH") {
		if err := s.set("PATH", DefaultPath); err != nil {
			return err
		}
	}
	for _, v := range e.injected {
		value := v.value
		if v.name == "LD_LIBRARY_PATH" && value != "" {
			value += ":" + libraryDir
		}
		if err := e.assign(v.name, value, v.literal); err != nil {
			return err
		}
	}
	return e.defaultLibraries()
}

// assign sets a variable to a value that is evaluated as in double quotes, unless it is literal.
func (e *evaluation) assign(name, value string, literal bool) error {
	if literal || !strings.ContainsAny(value, "$`\\") {
		return e.shell.set(name, value)
	}
	return e.shell.evaluate("export " + name + "=" + doubleQuoted(value))
}
