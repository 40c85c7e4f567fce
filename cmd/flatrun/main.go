// Command flatrun runs commands in container images that lie unpacked in CVMFS repositories or plain directories, without privileges.
//
// One file per verb; flags.go is the only list of flags, verbs.go the only list
// of verbs, and exit.go the only place where an error becomes an exit code.
// The program is started once per task on busy machines, so it does no work in
// package initialisation and links nothing that serves files: whatever needs a
// repository is asked of flatrun-session.
package main

import (
	"os"
	"path/filepath"
	"runtime"
)

// version is the release that --version reports; the build sets it with
// -ldflags "-X main.version=…".
var version = "0.1.0"

func init() {
	// Rights, filters and the wish to die with the parent belong to a thread. Those of the main one, on which the
	// constructor of mount/enter ran, survive execve.
	runtime.LockOSThread()
}

func main() {
	p := newProgram(filepath.Base(os.Args[0]), os.Environ())
	os.Exit(p.exit(p.main(os.Args[1:])))
}
