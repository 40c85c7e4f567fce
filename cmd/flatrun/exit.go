package main

import (
	"errors"
	"fmt"
	"strings"
)

// Exit codes: the payload's own code is passed on untouched; these are ours.
const (
	exitUsage = 1   // wrong command line
	exitFatal = 255 // the runtime failed; the first line on standard error starts with FATAL:
)

// exitCode ends the program with a code and no message: a payload's status, or
// a verb such as doctor that has said its piece already.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usageError is a command line that cannot be understood.
type usageError struct {
	verb   *verb // nil: the program itself
	reason string
}

func (e usageError) Error() string { return e.reason }

// scriptError is what the image's own start script would say before exit 1: an
// ERROR line rather than FATAL, as the caller's scripts tell the two apart.
type scriptError struct{ text string }

func (e scriptError) Error() string { return e.text }

// fatal makes the error of a runtime failure.
func fatal(format string, args ...any) error { return fmt.Errorf(format, args...) }

// exit is the one place that turns an error into an exit code.
func (p *program) exit(err error) int {
	var code exitCode
	var usage usageError
	var script scriptError
	switch {
	case err == nil:
		p.log.release()
		return 0
	case errors.As(err, &code):
		p.log.release()
		return int(code)
	case errors.As(err, &usage):
		p.log.hold = false
		p.printUsageError(usage)
		p.log.release()
		return exitUsage
	case errors.As(err, &script):
		p.log.release()
		p.log.errorf("%s", script.text)
		return exitUsage
	}
	p.log.fatal(err)
	return exitFatal
}

// printUsageError says what is wrong, how the command is used, and where more
// is to be read: three things on standard error, the reason first.
func (p *program) printUsageError(e usageError) {
	var b strings.Builder
	if e.verb == nil {
		fmt.Fprintf(&b, "Error for command %q: %s\n\n", p.name, e.reason)
		fmt.Fprintf(&b, "Usage:\n  %s [global options...] <command>\n\n", p.name)
	} else {
		fmt.Fprintf(&b, "Error for command %q: %s\n\n", e.verb.name, e.reason)
		fmt.Fprintf(&b, "Usage:\n  %s\n\n", p.useLine(e.verb))
	}
	fmt.Fprintf(&b, "Run '%s --help' for more detailed usage information.\n", p.name)
	p.log.write(b.String())
}
