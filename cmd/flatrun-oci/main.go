// Command flatrun-oci is an OCI runtime for container engines and batch systems: it runs bundles, without privileges if need be.
//
// It is a program of its own, so that the start of flatrun does not pay for libcontainer. The command line is runc's as
// far as callers use it: containerd, conmon, Docker and Slurm call it by that.
package main

import (
	"os"

	"github.com/opencontainers/runc/libcontainer"
)

// version is the release; the build sets it with -ldflags "-X main.version=…".
var version = "0.1.0"

// A container's first process starts as this program with the argument "init". It has to be taken over before main,
// while the Go runtime keeps the goroutine on the process's first thread: namespaces and credentials are a thread's own.
func init() {
	if len(os.Args) > 1 && os.Args[1] == "init" {
		libcontainer.Init()
	}
}

func main() {
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	os.Exit(a.main(os.Args[1:]))
}
