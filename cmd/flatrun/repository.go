package main

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"strings"

	"github.com/flatrun/flatrun/mount/beside"
)

// sessionProgram serves repositories and links all that takes; see findSession.
const sessionProgram = "flatrun-session"

// runMount mounts a repository on the host, in DIR or where flatrun-session
// chooses, which it prints.
func runMount(p *program, o *options, args []string) error {
	if o.Metrics != "" {
		args = append(args, "--metrics", o.Metrics)
	}
	return p.callSession(p.stdout, "mount", args...)
}

// runUmount takes a mount away.
func runUmount(p *program, o *options, args []string) error {
	words := args
	if o.All {
		words = append(words, "--all")
	}
	if o.Force {
		words = append(words, "--force")
	}
	if len(words) == 0 {
		return usageError{verb: findVerb("umount"), reason: "give the directory or the name of a repository, or --all"}
	}
	return p.callSession(p.stdout, "umount", words...)
}

// runRefresh looks for new revisions.
func runRefresh(p *program, _ *options, args []string) error {
	return p.callSession(p.stdout, "refresh", args...)
}

// runConfigShow prints the configuration; reading it takes a YAML parser, which
// this program does not have.
func runConfigShow(p *program, _ *options, args []string) error {
	return p.callSession(p.stdout, "config", append([]string{"show"}, args...)...)
}

// callSession runs flatrun-session for an answer on its standard output. What it
// says on standard error is the error.
func (p *program) callSession(stdout io.Writer, verb string, args ...string) error {
	file, err := findSession()
	if err != nil {
		return err
	}
	words := []string{verb}
	if p.config != "" {
		words = append(words, "--config", p.config)
	}
	cmd := exec.Command(file, append(words, args...)...)
	cmd.Env = p.environ
	cmd.Stdout = stdout
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err = cmd.Run()
	if text := strings.TrimSpace(stderr.String()); err != nil && text != "" {
		return errors.New(text)
	}
	if err != nil {
		return fatal("%s %s: %w", sessionProgram, verb, err)
	}
	return nil
}

// findSession looks beside this program, in ../libexec/flatrun and on PATH.
func findSession() (string, error) { return findOurs(sessionProgram) }

func findOurs(name string) (string, error) {
	file, err := beside.Find(name, ".", "../libexec/flatrun")
	if err != nil {
		return "", fatal("%s is not found: install it beside flatrun, in ../libexec/flatrun, or on PATH", name)
	}
	return file, nil
}
