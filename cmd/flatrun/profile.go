package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// profileVerbs deal with start-up profiles: which objects a start of an image reads.
func profileVerbs() []verb {
	structured := func(o *options) []flag {
		return []flag{{name: "json", short: "j", value: &o.JSON, help: "print structured JSON"}}
	}
	return []verb{{
		name: "profile", short: "Record what a start of an image reads, and use it elsewhere",
		verbs: []verb{
			{
				name: "record", operands: "IMAGE COMMAND [ARG...]", min: 2, max: -1, run: runProfileRecord,
				short: "Run a command in an image and record what it reads",
				long: "The command runs with an empty cache and a session of its own. What it read in its first minute is added to the image's profile, " +
					"which the next start with a cold cache fetches at once.",
				examples: "{} profile record python:3.12 python3 -c 'import numpy'",
			},
			{
				name: "show", operands: "IMAGE", min: 1, max: 1, flags: structured, run: runProfile("show"),
				short: "Show the objects of an image's profile", examples: "{} profile show python:3.12",
			},
			{
				name: "export", operands: "IMAGE FILE", min: 2, max: 2, run: runProfile("export"),
				short:    "Write an image's profile to a file",
				long:     "For other nodes, and for flathub profile add, which puts it beside the image in the repository. FILE may be - for standard output.",
				examples: "{} profile export python:3.12 start.profile",
			},
			{
				name: "import", operands: "FILE", min: 1, max: 1, run: runProfile("import"),
				short: "Use a profile that was exported on another node", examples: "{} profile import start.profile",
			},
		},
	}}
}

func runProfile(name string) func(*program, *options, []string) error {
	return func(p *program, o *options, args []string) error {
		if name != "show" { // the session program may run elsewhere
			if last := len(args) - 1; args[last] != "-" {
				file, err := filepath.Abs(args[last])
				if err != nil {
					return err
				}
				args[last] = file
			}
		}
		return p.watchSession("profile", append(append(o.Storage.words(o), name), args...))
	}
}

// runProfileRecord starts the command as exec does, in a session that ends with it and has nothing in its cache.
func runProfileRecord(p *program, _ *options, args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "flatrun-record-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	run := filepath.Join(dir, "run")
	if err := os.Mkdir(run, 0o700); err != nil {
		return err
	}
	cache := filepath.Join(dir, "cache")
	flatrun := func(words ...string) *exec.Cmd {
		if p.config != "" {
			words = append([]string{"--config", p.config}, words...)
		}
		cmd := exec.Command(self, words...)
		cmd.Env = append(without(p.environ, "XDG_RUNTIME_DIR", "FLATRUN_CACHE_DIR"), "XDG_RUNTIME_DIR="+run, "FLATRUN_CACHE_DIR="+cache)
		return cmd
	}
	if len(args) > 2 && args[1] == "--" {
		args = append(args[:1:1], args[2:]...)
	}
	cmd := flatrun(append([]string{"exec"}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, p.stdout, os.Stderr
	ran := cmd.Run()
	if out, err := flatrun("umount", "--all", "--force").CombinedOutput(); err != nil { // its end writes the profile
		return fmt.Errorf("end the recording: %w: %s", err, strings.TrimSpace(string(out)))
	}
	var ended *exec.ExitError
	if errors.As(ran, &ended) {
		return exitCode(ended.ExitCode())
	} else if ran != nil {
		return ran
	}
	return p.watchSession("profile", []string{"keep", filepath.Join(cache, "profiles"), run})
}

// without is the environment but for some names.
func without(environ []string, names ...string) (rest []string) {
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		keep := true
		for _, n := range names {
			keep = keep && n != name
		}
		if keep {
			rest = append(rest, e)
		}
	}
	return rest
}
