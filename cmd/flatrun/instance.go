package main

import (
	"os"
	"os/user"
	"strconv"

	"github.com/flatrun/flatrun/runtime/instance"
)

// stopOptions are those of the verbs that look at instances.
type stopOptions struct {
	User     string
	Logs     bool
	NoStream bool
	Follow   bool
	Tail     int // lines, negative for all
	Signal   string
	Timeout  int // seconds
}

// instanceVerb groups what has to do with containers in the background.
func instanceVerb() verb {
	start := func(o *options) []flag {
		return append(containerFlags(o), flag{name: "pid-file", value: &o.PIDFile, twins: []string{"PID_FILE"}, arg: "path", help: "write the process id of the instance to this file"})
	}
	whose := func(o *options) flag {
		return flag{name: "user", short: "u", value: &o.Stop.User, arg: "name", help: "instances of this user (for root)"}
	}
	asJSON := func(o *options) flag {
		return flag{name: "json", short: "j", value: &o.JSON, help: "print structured JSON"}
	}
	return verb{
		name: "instance", short: "Run containers in the background",
		long: "An instance is a container that goes on after the command that started it has ended. exec, run and shell enter it by the name instance://NAME. It belongs to the user on this machine, and ends at the latest with the batch job that it was started in.",
		verbs: []verb{
			{
				name: "start", operands: "IMAGE NAME [ARG...]", min: 2, max: -1, flags: start, starts: true, run: runInstanceStart,
				short:    "Start an instance with the image's start script",
				long:     "Its output goes to files that instance list --logs names.\n\n" + imageHelp,
				examples: "{} instance start --bind /data ./rootfs db\n{} exec instance://db ps\n{} instance stop db",
			},
			{
				name: "run", operands: "IMAGE NAME [ARG...]", min: 2, max: -1, flags: start, starts: true, run: runInstanceRun,
				short:    "Start an instance with what the image was made for",
				long:     "Like instance start, with the image's run script or entry point.\n\n" + imageHelp,
				examples: "{} instance run registry.example.org/library/redis:7 cache --port 7000",
			},
			{
				name: "list", operands: "[NAME-GLOB]", min: 0, max: 1, run: runInstanceList,
				flags: func(o *options) []flag {
					return []flag{
						whose(o), asJSON(o),
						{name: "logs", short: "l", value: &o.Stop.Logs, help: "show where the output goes"},
						{name: "all", short: "a", value: &o.All, help: "for compatibility: instances of all hosts are not known"},
					}
				},
				short:    "List the instances that run",
				examples: "{} instance list\n{} instance list --json 'web*'",
			},
			{
				name: "stop", operands: "[NAME-GLOB]", min: 0, max: 1, run: runInstanceStop,
				flags: func(o *options) []flag {
					o.Stop.Timeout = 10
					return []flag{
						whose(o),
						{name: "all", short: "a", value: &o.All, help: "all instances"},
						{name: "force", short: "F", value: &o.Force, help: "kill at once"},
						{name: "signal", short: "s", value: &o.Stop.Signal, arg: "name", help: "the signal to send, by name or number (default SIGINT)"},
						{name: "timeout", short: "t", value: &o.Stop.Timeout, arg: "seconds", help: "kill those that run after so long (default 10)"},
					}
				},
				short:    "Stop instances",
				examples: "{} instance stop db\n{} instance stop --signal TERM --timeout 30 'web*'\n{} instance stop --all",
			},
			{
				name: "stats", operands: "[NAME-GLOB]", min: 0, max: 1, run: runInstanceStats,
				flags: func(o *options) []flag {
					return []flag{whose(o), asJSON(o), {name: "no-stream", value: &o.Stop.NoStream, help: "print once instead of every second"}}
				},
				short:    "Show what instances use of the machine",
				examples: "{} instance stats --no-stream",
			},
			{
				name: "logs", operands: "NAME", min: 1, max: 1, run: runInstanceLogs,
				flags: func(o *options) []flag {
					o.Stop.Tail = -1
					return []flag{
						whose(o),
						{name: "follow", short: "f", value: &o.Stop.Follow, help: "go on with what is written, until the instance ends"},
						{name: "tail", value: &o.Stop.Tail, arg: "lines", help: "begin with the last lines of each stream (default: all)"},
					}
				},
				short:    "Print the output of an instance",
				long:     "Standard output and standard error go where they come from. That of an instance which has ended by itself is kept until its name is used again.",
				examples: "{} instance logs db\n{} instance logs --follow --tail 10 db",
			},
		},
	}
}

// instances opens the caller's store, or for root that of --user.
func (p *program) instances(o *options) (*instance.Store, error) {
	if o.Stop.User == "" {
		return instance.Open()
	}
	account, err := user.Lookup(o.Stop.User)
	if err != nil {
		return nil, fatal("user %s: no such account", o.Stop.User)
	}
	uid, err := strconv.Atoi(account.Uid)
	switch {
	case err != nil:
		return nil, fatal("user %s: uid %s is not a number", o.Stop.User, account.Uid)
	case uid == os.Geteuid():
		return instance.Open()
	case os.Geteuid() != 0:
		return nil, fatal("only root user can list user's instances")
	}
	return instance.Of(uid), nil
}

// pattern is the operand of the verbs that take one.
func pattern(args []string) string {
	if len(args) == 0 {
		return "*"
	}
	return args[0]
}
