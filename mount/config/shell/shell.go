// Package shell reads configuration files written as shell scripts, without running a shell.
//
// The files of the CVMFS client are sourced by bash; what they use of it is
// assignments, quotes, parameter expansion, a little arithmetic, if with the test
// command, "&&" and "||", and sourcing of a neighbour. That much is interpreted here. Nothing is
// executed and nothing is written.
//
// A value that only a real shell could know (a command's output, an
// unsupported expansion) becomes unknown, and so does what is made of it and
// what is assigned under a condition that is unknown. So a script that computes
// something that nobody asks for does no harm, and one that computes something
// needed gives an error that names the line, rather than a wrong value. A
// script that cannot be understood as a whole (loops, functions) is an error.
package shell

import (
	"fmt"
	"io/fs"
)

// Origin is a place in a file.
type Origin struct {
	File string
	Line int
}

func (o Origin) String() string {
	if o.Line == 0 {
		return o.File
	}
	return fmt.Sprintf("%s:%d", o.File, o.Line)
}

// Var is a variable's value.
type Var struct {
	Value   string
	Origin  Origin
	Unknown string // why the value is not known; "" if it is
}

// Error is a fault at a place.
type Error struct {
	Origin
	Err error
}

func (e *Error) Error() string { return e.Origin.String() + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Interpreter runs scripts one after the other on one set of variables.
// Vars, ReadFile and Stat must be set.
type Interpreter struct {
	Vars map[string]Var
	// Lookup gives variables that no script has set, such as the environment's;
	// nil knows none.
	Lookup func(name string) (string, bool)
	// Assign sees each assignment before it happens and may change the value or
	// keep the variable as it is (false). nil takes everything.
	Assign func(name string, v *Var) bool
	// ReadFile and Stat see the file system.
	ReadFile func(path string) ([]byte, error)
	Stat     func(path string) (fs.FileInfo, error)
	// Warnings collects what was passed over.
	Warnings []string

	gone  map[string]bool // variables that were unset: Lookup is not asked for them
	depth int
	runs  int
	dir   string // of the script being run, where relative paths begin
}

// Bounds that no configuration comes near to; they keep hostile text from
// costing memory or stack.
const (
	maxScript  = 1 << 20 // bytes of one file
	maxValue   = 1 << 16 // bytes of one value
	maxNesting = 50      // of if
	maxSources = 8       // of files that source files
	maxRuns    = 1000    // files run by one interpreter
)
