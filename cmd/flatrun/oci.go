package main

import (
	"context"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/enter"
)

// ociProgram is the OCI runtime, a program of its own so that this one does not pay for libcontainer.
const ociProgram = "flatrun-oci"

// repositoriesFlag is how the OCI runtime asks for repositories that the host has not mounted: NAME,…
const repositoriesFlag = "--repositories="

// runOCI becomes the OCI runtime; all that follows the verb is its command line.
func runOCI(p *program, _ *options, args []string) error {
	file, err := findOCI()
	if err != nil {
		return err
	}
	environ := p.environ
	if len(args) > 0 && strings.HasPrefix(args[0], repositoriesFlag) {
		names := strings.Split(strings.TrimPrefix(args[0], repositoriesFlag), ",")
		handed, err := p.showRepositories(names)
		if err != nil {
			return err
		}
		args, environ = args[1:], append(environ, handed...)
	}
	return fatal("%s: %w", file, syscall.Exec(file, append([]string{ociProgram}, args...), environ))
}

// showRepositories enters the session, has it mount repositories, and tells the OCI runtime where it shows the revisions
// that they have now. The connection, which keeps them, is handed on.
func (p *program) showRepositories(names []string) (handed []string, err error) {
	state, err := enter.Ensure(context.Background(), enter.Plan{Join: true}, enter.StartOptions{Config: p.config})
	if err != nil {
		return nil, err
	}
	var fields []string
	for _, name := range names {
		place, err := state.Session.Mount(name)
		if err != nil {
			return nil, err
		}
		fields = append(fields, name+"="+place.Source)
	}
	fd := state.Session.Conn.Fd()
	if _, err := unix.FcntlInt(fd, unix.F_SETFD, 0); err != nil {
		return nil, fatal("keep the connection to the session: %w", err)
	}
	return []string{"FLATRUN_ENTER=", "FLATRUN_OCI_REPOSITORIES=" + strings.Join(fields, ","), "FLATRUN_OCI_SESSION_FD=" + strconv.Itoa(int(fd))}, nil
}

// findOCI looks beside this program, in ../libexec/flatrun and on PATH.
func findOCI() (string, error) { return findOurs(ociProgram) }
