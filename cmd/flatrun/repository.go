package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/flatrun/flatrun/mount/enter"
)

// sessionProgram serves repositories and links all that takes; see findSession.
const sessionProgram = "flatrun-session"

// runMount mounts a repository: for all of the user's processes in DIR, or in
// the session only.
func runMount(p *program, _ *options, args []string) error {
	if len(args) == 2 {
		return p.becomeSession("mount", args...)
	}
	state, err := enter.Ensure(context.Background(), enter.Plan{Join: true}, enter.StartOptions{Config: p.config})
	if err != nil {
		return err
	}
	mounted, err := state.Session.Mount(args[0])
	if err != nil {
		return err
	}
	p.log.infof("%s is mounted at revision %d; containers see it at /cvmfs/%s", mounted.FQRN, mounted.Revision, mounted.FQRN)
	return nil
}

func runUmount(p *program, _ *options, args []string) error {
	return p.becomeSession("umount", args...)
}

// runConfigShow prints the configuration; reading it takes a YAML parser, which
// this program does not have.
func runConfigShow(p *program, _ *options, args []string) error {
	return p.becomeSession("config", append([]string{"show"}, args...)...)
}

// becomeSession replaces this program by one call of flatrun-session.
func (p *program) becomeSession(verb string, args ...string) error {
	file, err := findSession()
	if err != nil {
		return err
	}
	words := []string{sessionProgram, verb}
	if p.config != "" {
		words = append(words, "--config", p.config)
	}
	words = append(words, args...)
	return fatal("start %s: %w", file, syscall.Exec(file, words, p.environ))
}

// findSession looks beside this program, in ../libexec/flatrun and on PATH.
func findSession() (string, error) {
	if self, err := os.Executable(); err == nil {
		dir := filepath.Dir(self)
		for _, file := range []string{filepath.Join(dir, sessionProgram), filepath.Join(dir, "../libexec/flatrun", sessionProgram)} {
			if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
				return file, nil
			}
		}
	}
	file, err := exec.LookPath(sessionProgram)
	if err != nil {
		return "", fatal("%s is not found: install it beside flatrun, in ../libexec/flatrun, or on PATH", sessionProgram)
	}
	return file, nil
}
