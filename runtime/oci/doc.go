// Package oci is what the verbs of an OCI runtime do, over libcontainer: create, start, state, kill, delete and their kin.
//
// One request struct per verb that has options; package flatrun-oci turns command lines into them. libcontainer starts
// the container's first process by executing the program once more with the argument "init", so a program that uses this
// package calls libcontainer.Init from a package initialiser when it sees that argument, and links nsenter, whose C
// constructor makes the namespaces before the Go runtime has threads; importing this package does the latter.
//
// Warnings go to the standard logger of logrus: it is where libcontainer's own go, and callers read one log.
package oci

import (
	_ "github.com/opencontainers/cgroups/devices"           // registers what sets device rules
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // the C constructor of "init"
)
