package main

// containerVerbs run something in an image.
func containerVerbs() []verb {
	shell := func(o *options) []flag { return append(containerFlags(o), shellFlags(o)...) }
	return []verb{
		{
			name: "exec", operands: "IMAGE COMMAND [ARG...]", min: 2, max: -1, flags: containerFlags, starts: true, run: runExec,
			short: "Run a command in an image",
			long:  imageHelp + "\n\nWhat follows IMAGE belongs to the command. Its exit code is passed on; 255 and a line that starts with FATAL: mean that it could not be started.",
			examples: `{} exec /cvmfs/unpacked.cern.ch/registry.hub.docker.com/library/debian:12 cat /etc/os-release
{} exec --bind /data:/mnt:ro --pwd /mnt registry.example.org/library/python:3.12 python3 -V
{} exec --cleanenv --contain ./rootfs /bin/sh -c 'echo $HOME'`,
		},
		{
			name: "run", operands: "IMAGE [ARG...]", min: 1, max: -1, flags: containerFlags, starts: true, run: runRun,
			short: "Run what the image was made for",
			long:  "Starts the image's run script, or the entry point and command of its OCI configuration, or /bin/sh where it has none.\n\n" + imageHelp,
			examples: `{} run registry.example.org/library/hello:latest
{} run --env DEBUG=1 ./rootfs --flag-of-the-program`,
		},
		{
			name: "shell", operands: "IMAGE", min: 1, max: -1, flags: shell, starts: true, run: runShell,
			short: "Run an interactive shell in an image",
			long:  "Starts $SINGULARITY_SHELL or the program of --shell, else bash, else sh, on your own terminal.\n\n" + imageHelp,
			examples: `{} shell registry.example.org/library/debian:12
{} shell --shell /bin/zsh --writable-tmpfs ./rootfs`,
		},
		{
			name: "test", operands: "IMAGE [ARG...]", min: 1, max: -1, flags: containerFlags, starts: true, run: runTest,
			short:    "Run the image's own tests",
			long:     "Starts the test script of the image. An image without one passes.\n\n" + imageHelp,
			examples: `{} test ./rootfs`,
		},
		instanceVerb(),
	}
}

const imageHelp = "IMAGE is a directory, a path below /cvmfs (mounted or not), cvmfs://FQRN/path, or the name of an image that the configured repositories hold: registry/name:tag, docker://name:tag, a digest, or name:tag@linux-arm64 where several platforms were published."

// imageVerbs look at an image without running it.
func imageVerbs() []verb {
	return []verb{
		{
			name: "inspect", operands: "IMAGE", min: 1, max: 1, flags: inspectFlags, run: runInspect,
			short: "Show labels, scripts and environment of an image",
			examples: `{} inspect registry.example.org/library/debian:12
{} inspect --json --runscript ./rootfs`,
		},
		{
			name: "run-help", operands: "IMAGE", min: 1, max: 1, run: runRunHelp,
			flags: func(o *options) []flag {
				return []flag{{name: "app", value: &o.App, arg: "name", help: "show the help of one application"}}
			},
			short:    "Show the help text of an image",
			examples: `{} run-help ./rootfs`,
		},
	}
}

// repositoryVerbs deal with CVMFS repositories.
func repositoryVerbs() []verb {
	return []verb{
		{
			name: "mount", operands: "FQRN [DIR]", min: 1, max: 2, run: runMount,
			flags: func(o *options) []flag {
				return []flag{{name: "metrics", arg: "ADDRESS", value: &o.Metrics, help: "serve its state in the text format of Prometheus at unix:PATH or tcp:HOST:PORT"}}
			},
			short:    "Mount a repository for browsing",
			long:     "Returns when the mount is usable. Without DIR a place is chosen and printed. Containers need no mount: they see every configured repository below /cvmfs.",
			examples: "{} mount unpacked.cern.ch ~/unpacked\n{} umount ~/unpacked",
		},
		{
			name: "umount", aliases: []string{"unmount"}, operands: "DIR|FQRN", min: 0, max: 1, run: runUmount,
			flags: func(o *options) []flag {
				return []flag{
					{name: "all", short: "a", value: &o.All, help: "all mounts and sessions that nobody uses"},
					{name: "force", short: "F", value: &o.Force, help: "even if somebody uses them"},
				}
			},
			short:    "Unmount a repository",
			examples: "{} umount ~/unpacked\n{} umount --all",
		},
		{
			name: "refresh", operands: "[DIR|FQRN]", min: 0, max: 1, run: runRefresh,
			short:    "Look for new revisions of repositories now",
			long:     "Without it that happens when the time to live that a repository gives itself is over. New containers, those with --follow, and mounts show what is found; the others keep the revisions they have started with. One that is refused (older than what was seen, blacklisted, not signed as it should be) changes nothing.",
			examples: "{} refresh\n{} refresh unpacked.cern.ch",
		},
		{
			name: "status", operands: "", min: 0, max: 0, run: runStatus,
			flags: func(o *options) []flag {
				return []flag{{name: "json", short: "j", value: &o.JSON, help: "print structured JSON"}}
			},
			short:    "Show sessions, mounts, cache, proxy and server in use",
			examples: "{} status",
		},
		{
			name: "top", operands: "[FQRN]", min: 0, max: 1, run: runTop,
			short:    "Show what mounts are doing, every second on a terminal",
			long:     "Requests of programs and bytes from the network a second, the time within which 99 of 100 requests were answered, and the files that programs waited for longest. Where the output is no terminal, one second is shown.",
			examples: "{} top\n{} top unpacked.cern.ch",
		},
	}
}

// hostVerbs are about this machine and this program.
func hostVerbs() []verb {
	return []verb{
		{
			name: "doctor", min: 0, max: 0, run: runDoctor,
			flags: func(o *options) []flag {
				return []flag{{name: "json", short: "j", value: &o.JSON, help: "print structured JSON"}}
			},
			short:    "Show what this host offers and what an administrator would do about the rest",
			long:     "Looks at the caches that the configuration names as well. Ends with 1 when exec cannot work here.",
			examples: "{} doctor",
		},
		{
			name: "config", short: "Show the configuration",
			verbs: []verb{{
				name: "show", min: 0, max: 1, operands: "[FQRN]", run: runConfigShow,
				short:    "Print each value with where it came from",
				examples: "{} config show",
			},
				{name: "global", hidden: true, max: -1, refuse: "the configuration is /etc/flatrun/config.yaml; edit it, and look at it with config show"},
				{name: "fakeroot", hidden: true, max: -1, refuse: "users of --fakeroot are those of /etc/subuid and /etc/subgid: usermod --add-subuids and --add-subgids"},
			},
		},
		{
			name: "oci", operands: "COMMAND...", min: 0, max: -1, raw: true, run: runOCI,
			short:    "Run OCI bundles, by the command line of runc",
			long:     "Container engines and batch systems that call an OCI runtime are given flatrun-oci itself. The root of a bundle, and what it binds, may lie in a repository, as /cvmfs/FQRN/PATH or cvmfs://FQRN/PATH. One that the host has not mounted is mounted for an ordinary user's container, which keeps the revision that it begins with.",
			examples: "{} oci --help",
		},
		{name: "version", min: 0, max: -1, run: runVersion, short: "Print the version", examples: "{} version"},
		{name: "help", min: 0, max: -1, run: func(p *program, _ *options, args []string) error { return p.help(args) }, operands: "[COMMAND]", short: "Show help on a command", examples: "{} help exec"},
		{
			name: "completion", operands: "bash|zsh|fish", min: 1, max: 1, run: runCompletion,
			short:    "Print a script that completes command lines",
			examples: "source <({} completion bash)",
		},
		{name: "complete", operands: "-- WORD...", min: 0, max: -1, hidden: true, run: runComplete, short: "Print what a word may become"},
		{name: "man", operands: "DIR", min: 1, max: 1, hidden: true, run: runMan, short: "Write the man pages into a directory", examples: "{} man /usr/local/share/man/man1"},
	}
}
