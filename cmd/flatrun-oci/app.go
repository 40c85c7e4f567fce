package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"

	"github.com/flatrun/flatrun/runtime/oci"
)

// program is what messages call this program.
const program = "flatrun-oci"

// app is one invocation.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	runtime        oci.Runtime
	logged         bool // errors go to a log that is not standard error
}

// global are the flags before the verb.
type global struct {
	root, log, logFormat, rootless string
	debug, systemd, version, help  bool
}

func (g *global) set() *pflag.FlagSet {
	f := newSet(program)
	f.SetInterspersed(false)
	f.StringVar(&g.root, "root", "", "state `DIR`ectory (default $XDG_RUNTIME_DIR/flatrun/oci, or /tmp/flatrun-UID/oci)")
	f.StringVar(&g.log, "log", "", "write messages to `FILE`, and errors to standard error as well")
	f.StringVar(&g.logFormat, "log-format", "text", "text or json")
	f.StringVar(&g.rootless, "rootless", "auto", "ignore missing rights to control groups: true, false or auto")
	f.BoolVar(&g.debug, "debug", false, "log more")
	f.BoolVar(&g.systemd, "systemd-cgroup", false, "let systemd make the control groups")
	f.BoolVarP(&g.version, "version", "v", false, "print the version")
	f.BoolVarP(&g.help, "help", "h", false, "print this text")
	return f
}

func newSet(name string) *pflag.FlagSet {
	f := pflag.NewFlagSet(name, pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.SortFlags = false
	return f
}

// exitCode ends the program with a process's status and no message.
type exitCode int

func (e exitCode) Error() string { return "exit status " + strconv.Itoa(int(e)) }

// main interprets the arguments and returns the exit code: 1 where the runtime fails, as callers of runc expect, 255
// where exec does, so that it is told from the process's own status.
func (a *app) main(args []string) int {
	verb, err := a.run(args)
	var code exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	a.report(fmt.Errorf("%s: %w", strings.TrimSpace(program+" "+verb), err))
	if verb == "exec" {
		return 255
	}
	return 1
}

func (a *app) run(args []string) (verb string, err error) {
	var g global
	flags := g.set()
	if err := flags.Parse(args); err != nil {
		return "", err
	}
	args = flags.Args()
	switch {
	case g.version:
		return "", a.printVersion()
	case g.help || len(args) > 0 && args[0] == "help":
		return "", a.printHelp(flags)
	}
	if err := a.configure(&g); err != nil {
		return "", err
	}
	if len(args) == 0 {
		return "", errors.New("no command given; see --help")
	}
	for _, v := range verbs() {
		if v.name == args[0] {
			return v.name, a.runVerb(v, &g, args[1:])
		}
	}
	return "", fmt.Errorf("unknown command %q; see --help", args[0])
}

// configure sets up the log and what is the same for all verbs.
func (a *app) configure(g *global) error {
	logrus.SetOutput(a.stderr)
	switch g.logFormat {
	case "json":
		logrus.SetFormatter(&logrus.JSONFormatter{})
	case "text", "":
		logrus.SetFormatter(&logrus.TextFormatter{})
	default:
		return fmt.Errorf("--log-format %s: must be text or json", g.logFormat)
	}
	if g.debug {
		logrus.SetLevel(logrus.DebugLevel)
	}
	if g.log != "" {
		f, err := os.OpenFile(g.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return fmt.Errorf("--log: %w", err)
		}
		logrus.SetOutput(f)
		a.logged = true
	}
	a.runtime = oci.Runtime{Root: g.root, SystemdCgroup: g.systemd}
	a.takeRepositories()
	if g.rootless != "auto" {
		b, err := strconv.ParseBool(g.rootless)
		if err != nil {
			return fmt.Errorf("--rootless %s: must be true, false or auto", g.rootless)
		}
		a.runtime.Rootless = &b
	}
	return nil
}

// report writes an error where callers look for it: engines read the log, people and conmon standard error.
func (a *app) report(err error) {
	if a.logged {
		logrus.Error(err)
	}
	if _, json := logrus.StandardLogger().Formatter.(*logrus.JSONFormatter); json && !a.logged {
		logrus.Error(err)
		return
	}
	fmt.Fprintln(a.stderr, err)
}

// runVerb parses a verb's flags and runs it. Flags may stand behind the ID, as Slurm writes them, but for verbs whose
// last operands are a command.
func (a *app) runVerb(v verb, g *global, args []string) error {
	flags := newSet(v.name)
	flags.SetInterspersed(!v.command)
	help := flags.BoolP("help", "h", false, "print this text")
	run := v.define(a, flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	args = flags.Args()
	if *help {
		_, err := fmt.Fprintf(a.stdout, "Usage: %s %s [flags] %s\n\n%s.\n\n%s", program, v.name, v.operands, v.short, flags.FlagUsages())
		return err
	}
	if len(args) < v.min || v.max >= 0 && len(args) > v.max {
		return fmt.Errorf("wrong number of operands; usage: %s %s [flags] %s", program, v.name, v.operands)
	}
	if g.root == "" && !v.stateless {
		root, err := oci.DefaultRoot(a.getenv)
		if err != nil {
			return err
		}
		a.runtime.Root = root
	}
	return run(args)
}
