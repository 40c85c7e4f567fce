package singularity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// shell interprets the image's scripts on a set of variables. The interpreter
// is made when the first script turns up that does anything.
type shell struct {
	root    *Root
	vars    variables
	args    []string // "$@"
	timeout time.Duration
	runner  *interp.Runner
	scripts map[string][]byte // those read, as sourcing one reads it twice
	out     printed           // what they print, kept until all of them are judged
	err     printed

	lock   sync.Mutex // a pipe's ends run side by side
	unsure error      // why the image's own shell has to do it
}

// printed collects output; a pipe's ends may write at the same time.
type printed struct {
	lock sync.Mutex
	data []byte
}

func (p *printed) Write(b []byte) (int, error) {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.data = append(p.data, b...)
	return len(b), nil
}

// exited means that a script ended the whole start with this code.
type exited int

func (e exited) Error() string {
	return fmt.Sprintf("environment script exited with status %d", int(e))
}

// needShell is returned when only the image's own shell can tell.
type needShell struct{ why error }

func (e needShell) Error() string { return "the image's own shell is needed: " + e.why.Error() }
func (e needShell) Unwrap() error { return e.why }

// trivial reports whether a script has nothing but comments and blanks.
func trivial(script []byte) bool {
	for line := range bytes.Lines(script) {
		line = bytes.TrimLeft(line, " \t\r\n")
		if len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
}

// source runs a script of the image in this shell.
func (s *shell) source(name string) error {
	script, err := s.read(name)
	if errors.Is(err, errUnknown) {
		return needShell{err}
	}
	if err != nil {
		return err
	}
	if trivial(script) {
		return nil
	}
	// The working directory inside is not known yet.
	if bytes.Contains(script, []byte("PWD")) || bytes.Contains(script, []byte("pwd")) {
		return needShell{fmt.Errorf("%s asks for the working directory", name)}
	}
	if s.plain(script) {
		return nil
	}
	return s.evaluate(". '" + strings.ReplaceAll(name, "'", `'\''`) + "'")
}

// read returns a file of the image, from memory if it was read before.
func (s *shell) read(name string) ([]byte, error) {
	if script, ok := s.scripts[name]; ok {
		return script, nil
	}
	script, err := s.root.readFile(name)
	if err != nil {
		return nil, err
	}
	if s.scripts == nil {
		s.scripts = make(map[string][]byte)
	}
	s.scripts[name] = script
	return script, nil
}

// evaluate runs a piece of shell.
func (s *shell) evaluate(text string) error {
	file, err := syntax.NewParser().Parse(strings.NewReader(text), "")
	if err != nil {
		return needShell{err}
	}
	if err := s.start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	for _, stmt := range file.Stmts {
		err = s.runner.Run(ctx, stmt)
		if s.unsure != nil {
			return needShell{s.unsure}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("environment script was stopped after %s (see --runscript-timeout)", s.timeout)
		}
		if s.runner.Exited() {
			var status interp.ExitStatus
			if errors.As(err, &status) {
				s.flush()
				return exited(status)
			}
			return needShell{fmt.Errorf("environment script exits: %v", err)}
		}
	}
	s.pull()
	return nil
}

// start makes the interpreter on the variables as they are now.
func (s *shell) start() error {
	if s.runner != nil {
		return nil
	}
	runner, err := interp.New(
		interp.Env(s.vars), interp.Dir("/"), interp.Params(append([]string{"--"}, s.args...)...), interp.StdIO(nil, &s.out, &s.err),
		interp.CallHandler(s.call), interp.OpenHandler(s.open), interp.StatHandler(s.stat),
		interp.ReadDirHandler2(s.readDir), interp.AccessHandler(s.access),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return s.exec }),
	)
	if err != nil {
		return fmt.Errorf("prepare environment scripts: %w", err)
	}
	s.runner = runner
	return nil
}

// pull takes the interpreter's variables over.
func (s *shell) pull() {
	for name, value := range s.runner.Vars {
		switch name {
		case "PWD", "OLDPWD", "IFS", "OPTIND", "UID", "EUID", "GID":
			continue // the interpreter's own
		}
		if value.Set {
			s.vars[name] = value
		} else {
			delete(s.vars, name)
		}
	}
}

// set exports a variable, in the interpreter too.
func (s *shell) set(name, value string) error {
	s.vars.set(name, value)
	if s.runner == nil {
		return nil
	}
	word := &syntax.Word{Parts: []syntax.WordPart{&syntax.SglQuoted{Value: value}}}
	return s.runner.Run(context.Background(), &syntax.Stmt{Cmd: &syntax.DeclClause{
		Variant: &syntax.Lit{Value: "export"},
		Args:    []*syntax.Assign{{Name: &syntax.Lit{Value: name}, Value: word}},
	}})
}

// flush prints what the scripts printed.
func (s *shell) flush() {
	os.Stdout.Write(s.out.data)
	os.Stderr.Write(s.err.data)
	s.out.data, s.err.data = nil, nil
}

// unknown notes that the interpreter was asked what it cannot know.
func (s *shell) unknown(err error) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.unsure == nil {
		s.unsure = err
	}
	return err
}

// The builtins whose result depends on variables and on files of the image only.
var builtins = map[string]bool{
	":": true, "true": true, "false": true, "echo": true, "printf": true, "test": true, "[": true,
	"source": true, ".": true, "unset": true, "set": true, "shift": true, "shopt": true, "alias": true, "unalias": true,
	"return": true, "break": true, "continue": true, "exit": true, "eval": true,
}

// call sees every command before it runs.
func (s *shell) call(ctx context.Context, args []string) ([]string, error) {
	switch {
	case args[0] == "hash":
		return []string{"true"}, nil // nothing is remembered
	case builtins[args[0]], !interp.IsBuiltin(args[0]):
		return args, nil // a function, or else exec is asked
	}
	return nil, s.unknown(fmt.Errorf("it runs %s", args[0]))
}

// exec is asked for what is neither builtin nor function.
func (s *shell) exec(ctx context.Context, args []string) error {
	return s.unknown(fmt.Errorf("it runs %s", args[0]))
}

// nothing is /dev/null.
type nothing struct{}

func (nothing) Read([]byte) (int, error)    { return 0, io.EOF }
func (nothing) Write(p []byte) (int, error) { return len(p), nil }
func (nothing) Close() error                { return nil }

// text is a file of the image.
type text struct {
	*bytes.Reader
	nothing
}

func (t text) Read(p []byte) (int, error) { return t.Reader.Read(p) }

func (s *shell) open(ctx context.Context, name string, flag int, _ os.FileMode) (io.ReadWriteCloser, error) {
	if name == "/dev/null" {
		return nothing{}, nil
	}
	if flag&(os.O_WRONLY|os.O_RDWR|os.O_CREATE) != 0 {
		return nil, s.unknown(fmt.Errorf("it writes %s", name))
	}
	s.lock.Lock()
	data, err := s.read(path.Clean(name))
	s.lock.Unlock()
	if err != nil {
		return nil, s.check(err)
	}
	return text{Reader: bytes.NewReader(data)}, nil
}

func (s *shell) stat(ctx context.Context, name string, follow bool) (fs.FileInfo, error) {
	if !follow {
		return nil, s.unknown(fmt.Errorf("it looks at a link: %s", name))
	}
	info, err := s.root.stat(name)
	return info, s.check(err)
}

func (s *shell) readDir(ctx context.Context, name string) ([]fs.DirEntry, error) {
	entries, err := s.root.readDir(name)
	return entries, s.check(err)
}

func (s *shell) access(ctx context.Context, name string, mode interp.AccessMode) error {
	info, err := s.root.stat(name)
	if err != nil {
		return s.check(err)
	}
	if mode == interp.AccessExec && info.Mode()&0o111 != 0 || mode == interp.AccessRead && info.Mode()&0o444 != 0 {
		return nil
	}
	return s.unknown(fmt.Errorf("it asks for the rights on %s", name))
}

// check passes an error of the file system on; a file that is simply absent is an answer.
func (s *shell) check(err error) error {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.unknown(err)
	}
	return err
}
