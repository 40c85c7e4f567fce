// Command flathub publishes container images and software trees into signed CVMFS repositories.
//
// One file per verb; verbs.go is the only list of them, and exit in app.go the
// only place where an error becomes an exit code.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// version is the release that version reports; the build sets it with
// -ldflags "-X main.version=…".
var version = "0.1.0"

// memoryLimit makes the garbage collector work harder before the program grows
// beyond what buffers and catalogs need. It is no bound: that is the buffers'.
const memoryLimit = 200 << 20

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	a := newApp()
	os.Exit(a.exit(ctx, a.run(ctx, os.Args[1:])))
}
