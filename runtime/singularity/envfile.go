package singularity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// EnvFile is a file of --env-file.
type EnvFile struct {
	Name string
	Text []byte
}

// fileSettings evaluates the files; a later one is stronger.
func (s *Settings) fileSettings() ([]setting, error) {
	values := make(map[string]string)
	for _, f := range s.EnvFiles {
		list, err := s.evaluateFile(f)
		if err != nil {
			return nil, fmt.Errorf("while processing %s: %w", f.Name, err)
		}
		for _, v := range list {
			values[v.name] = v.value
		}
	}
	all := make([]setting, 0, len(values))
	for name, value := range values {
		all = append(all, setting{name: name, value: value})
	}
	sort.Slice(all, func(i, j int) bool { return all[i].name < all[j].name })
	return all, nil
}

// evaluateFile reads assignments as a shell would that can see the caller's
// variables but can neither run nor open anything: an environment file is data.
func (s *Settings) evaluateFile(f EnvFile) ([]setting, error) {
	file, err := syntax.NewParser().Parse(strings.NewReader(string(f.Text)), f.Name)
	if err != nil {
		return nil, err
	}
	var no denial
	runner, err := interp.New(append(no.options(), interp.Env(s.unexported()), interp.Dir("/"), interp.Params("-a"))...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = runner.Run(ctx, file)
	var status interp.ExitStatus
	if err != nil && !errors.As(err, &status) {
		return nil, cmp.Or(no.err, err)
	}
	if no.err != nil { // in a substitution, which is empty then
		s.Log.Warn(fmt.Sprintf("While processing %s: %s", f.Name, no.err))
	}
	return exported(runner.Vars), nil
}

// unexported are the caller's variables, which a file can use but not pass on.
func (s *Settings) unexported() variables {
	vars := make(variables, len(s.Environ)+2)
	// HOME is there in any case, as the interpreter asks the account database else.
	vars["HOME"] = expand.Variable{Set: true, Kind: expand.String}
	for _, kv := range s.Environ {
		if name, value, ok := strings.Cut(kv, "="); ok {
			vars[name] = expand.Variable{Set: true, Kind: expand.String, Str: value}
		}
	}
	vars["APPTAINER_IMAGE"] = expand.Variable{Set: true, Kind: expand.String, Str: s.Container}
	return vars
}

// denial refuses what a file may not do, and remembers the first of it.
type denial struct {
	once sync.Once // the ends of a pipe may both be refused
	err  error
}

func (d *denial) deny(what string) error {
	err := fmt.Errorf("could not %s: an environment file may only set variables", what)
	d.once.Do(func() { d.err = err })
	return err
}

// options let the interpreter do nothing but set variables.
func (d *denial) options() []interp.RunnerOption {
	return []interp.RunnerOption{
		interp.StdIO(nil, io.Discard, io.Discard),
		interp.CallHandler(func(_ context.Context, args []string) ([]string, error) {
			if fileBuiltins[args[0]] || !interp.IsBuiltin(args[0]) {
				return args, nil
			}
			return nil, d.deny("run " + args[0])
		}),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc {
			return func(_ context.Context, args []string) error { return d.deny("run " + args[0]) }
		}),
		interp.OpenHandler(func(_ context.Context, name string, _ int, _ os.FileMode) (io.ReadWriteCloser, error) {
			return nil, d.deny("open " + name)
		}),
		interp.ReadDirHandler2(func(context.Context, string) ([]fs.DirEntry, error) { return nil, fs.ErrNotExist }),
		interp.StatHandler(func(context.Context, string, bool) (fs.FileInfo, error) { return nil, fs.ErrNotExist }),
	}
}

// fileBuiltins are those that an environment file may use.
var fileBuiltins = map[string]bool{":": true, "true": true, "false": true, "unset": true, "set": true, "test": true, "[": true, "echo": true, "printf": true, "shift": true}

// exported lists what a file set.
func exported(vars map[string]expand.Variable) []setting {
	var list []setting
	for name, v := range vars {
		switch name {
		case "PWD", "OLDPWD", "IFS", "OPTIND", "UID", "EUID", "GID":
			continue // the interpreter's own
		}
		if v.Set && v.Exported && v.Kind == expand.String {
			list = append(list, setting{name: name, value: v.Str})
		}
	}
	return list
}
