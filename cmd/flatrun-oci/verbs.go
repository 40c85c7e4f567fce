package main

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/pflag"
)

// verb is one command: define declares its flags and returns what runs it.
type verb struct {
	name, operands, short string
	min, max              int  // operands; max -1 = any number
	command               bool // what follows the ID is a command with flags of its own
	stateless             bool // looks at no container
	define                func(*app, *pflag.FlagSet) func(args []string) error
}

func verbs() []verb {
	return []verb{
		{name: "create", operands: "ID", short: "make a container whose process waits for start", min: 1, max: 1, define: (*app).create},
		{name: "start", operands: "ID", short: "let the process of a created container go", min: 1, max: 1, define: byID((*app).start)},
		{name: "run", operands: "ID", short: "make a container, run its process, remove the container", min: 1, max: 1, define: (*app).runContainer},
		{name: "exec", operands: "ID COMMAND...", short: "run one more process in a container", min: 1, max: -1, command: true, define: (*app).exec},
		{name: "state", operands: "ID", short: "print a container's state in JSON", min: 1, max: 1, define: byID((*app).state)},
		{name: "list", short: "list the containers", define: (*app).list},
		{name: "ps", operands: "ID [PS-OPTIONS...]", short: "list a container's processes", min: 1, max: -1, command: true, define: (*app).ps},
		{name: "kill", operands: "ID [SIGNAL]", short: "send a signal, by default TERM, to a container's first process", min: 1, max: 2, define: (*app).kill},
		{name: "delete", operands: "ID", short: "remove a container that has ended", min: 1, max: 1, define: (*app).delete},
		{name: "pause", operands: "ID", short: "stop all processes of a container", min: 1, max: 1, define: byID((*app).pause)},
		{name: "resume", operands: "ID", short: "let a paused container go on", min: 1, max: 1, define: byID((*app).resume)},
		{name: "update", operands: "ID", short: "change a container's limits", min: 1, max: 1, define: (*app).update},
		{name: "events", operands: "ID", short: "print a container's use of resources once, in JSON", min: 1, max: 1, define: (*app).events},
		{name: "spec", short: "write a config.json to start from", stateless: true, define: (*app).spec},
		{name: "features", short: "print what a config.json may ask for, in JSON", stateless: true, define: (*app).features},
	}
}

// byID defines a verb without flags.
func byID(run func(a *app, id string) error) func(*app, *pflag.FlagSet) func([]string) error {
	return func(a *app, _ *pflag.FlagSet) func([]string) error {
		return func(args []string) error { return run(a, args[0]) }
	}
}

// printVersion answers --version in the form that engines parse: the first line is shown, "spec:" is compared.
func (a *app) printVersion() error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s version %s\nspec: %s\ngo: %s\n", program, version, specs.Version, runtime.Version())
	if seccomp.Enabled {
		major, minor, patch := seccomp.Version()
		fmt.Fprintf(&b, "libseccomp: %d.%d.%d\n", major, minor, patch)
	}
	_, err := fmt.Fprint(a.stdout, b.String())
	return err
}

func (a *app) printHelp(flags *pflag.FlagSet) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s [flags] COMMAND [flags] [ID]\n\nAn OCI runtime: runs bundles, directories with a config.json and a root file system.\n\nCommands:\n", program)
	for _, v := range verbs() {
		fmt.Fprintf(&b, "  %-9s %s\n", v.name, v.short)
	}
	fmt.Fprintf(&b, "\nFlags:\n%s", flags.FlagUsages())
	_, err := fmt.Fprint(a.stdout, b.String())
	return err
}
