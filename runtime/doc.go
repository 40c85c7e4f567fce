// Package runtime runs a command in an image, without privileges.
//
// A front end fills in a Request (what is wanted) and a Host (what is there), Spec turns the two into an OCI runtime
// specification without touching anything, and Start carries the specification out in the calling process:
//
//	host, err := runtime.ReadHost()
//	spec, err := runtime.Spec(request, host)
//	return runtime.Start(spec, runtime.Extras{Log: log}) // returns only with an error
//
// Start expects to be inside the namespaces that spec.Linux.Namespaces names: they are made before the Go runtime has
// threads (see mount/enter). It builds the root file system beside the host's, moves into it, gives up its rights and
// becomes the command, so terminal, process id, signals and exit code are the command's own.
//
// What OCI has no word for travels in types and options of mounts that begin with "x-", as fstab(5) has it for the
// options of other programs (see options.go).
//
// Words: the image is a directory tree that serves as root; a bind shows a host path inside; a target is a path inside;
// a farm is a tmpfs directory that stands in for a read-only directory of the image to hold targets that it lacks.
package runtime
