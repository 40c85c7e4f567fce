package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/flatrun/flatrun/unpacked/near"
)

// app is the program with what it takes from its surroundings.
type app struct {
	out, err io.Writer
	in       io.Reader
	env      func(string) string
	root     bool // runs as the superuser
	terminal bool // err is one
	json     bool
	quiet    bool
}

func newApp() *app {
	return &app{
		out: os.Stdout, err: os.Stderr, in: os.Stdin, env: os.Getenv, root: os.Geteuid() == 0,
		terminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
}

// Exit codes.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// usageError is a command line that cannot be understood.
type usageError struct {
	verb   string // "": the program itself
	reason string
}

func (e usageError) Error() string { return e.reason }

// silentError ends the program with a failure whose reasons were printed.
type silentError struct{}

func (silentError) Error() string { return "failed" }

// exit turns an error into a message and an exit code.
func (a *app) exit(ctx context.Context, err error) int {
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &silentError{}):
		return exitFailed
	case errors.As(err, &usage):
		command := strings.TrimSpace("flathub " + usage.verb)
		fmt.Fprintf(a.err, "flathub: %s\nRun '%s --help' for how it is used.\n", usage.reason, command)
		return exitUsage
	case ctx.Err() != nil: // whatever broke off as a consequence
		fmt.Fprintln(a.err, "flathub: interrupted: nothing unfinished was published")
		return exitInterrupted
	}
	fmt.Fprintf(a.err, "flathub: %v\n", err)
	if errors.Is(err, syscall.ENOSPC) {
		fmt.Fprintln(a.err, "flathub: what this run stored is there still: go on when there is space, or delete it with flathub gc --orphans --orphan-age 0s")
	}
	return exitFailed
}

// run finds the verb and runs it.
func (a *app) run(ctx context.Context, args []string) error {
	if len(args) == 0 || args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
		return a.help(args)
	}
	if args[0] == "--version" {
		args[0] = "version"
	}
	v, ok := findVerb(args[0])
	if !ok {
		return unknownVerb(args[0])
	}
	f := pflag.NewFlagSet(v.name, pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.SortFlags = false
	if v.flags != nil {
		v.flags(f)
	}
	f.BoolVar(&a.json, "json", a.json, "print results as JSON, for programs")
	f.BoolVarP(&a.quiet, "quiet", "q", a.quiet, "no progress")
	err := f.Parse(args[1:])
	switch n := f.NArg(); {
	case errors.Is(err, pflag.ErrHelp):
		v.help(a.out, f)
		return nil
	case err != nil:
		return usageError{v.name, err.Error()}
	case n < v.min:
		return usageError{v.name, fmt.Sprintf("%s needs %s", v.name, v.operands)}
	case v.max >= 0 && n > v.max:
		return usageError{v.name, fmt.Sprintf("%s: %q is one operand too many", v.name, f.Arg(v.max))}
	}
	return v.run(ctx, a, f.Args())
}

func unknownVerb(name string) error {
	if strings.HasPrefix(name, "-") {
		return usageError{reason: fmt.Sprintf("unknown flag %s; flags follow the command", name)}
	}
	var names []string
	for _, v := range verbs() {
		names = append(names, v.name)
	}
	reason := fmt.Sprintf("unknown command %q", name)
	if close := near.Matches(name, names, 1); len(close) > 0 {
		reason += fmt.Sprintf("; did you mean %q?", close[0])
	}
	return usageError{reason: reason}
}

// print writes a result: as JSON where that is asked for, else as text.
func (a *app) print(result any, text string) error {
	if !a.json {
		_, err := io.WriteString(a.out, text)
		return err
	}
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	return e.Encode(result)
}

// log is for what a run should say without being asked.
func (a *app) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
}
