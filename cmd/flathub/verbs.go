package main

import (
	"context"

	"github.com/spf13/pflag"
)

// verb is one command of the program.
type verb struct {
	name     string
	operands string // what follows the flags, as the help shows it
	short    string // one line
	long     string // paragraphs of the help
	examples string // lines that work when pasted
	min, max int    // number of operands; max -1 is any number
	flags    func(*pflag.FlagSet)
	run      func(ctx context.Context, a *app, args []string) error
}

// verbs is the list of all verbs, in the order of the help.
func verbs() []verb {
	return []verb{
		initVerb(),
		convertVerb(),
		syncVerb(),
		thinVerb(),
		publishVerb(),
		removeVerb(),
		profileVerb(),
		tagVerb(),
		rollbackVerb(),
		gcVerb(),
		checkVerb(),
		resignVerb(),
		infoVerb(),
		diffVerb(),
		serveVerb(),
		versionVerb(),
	}
}

func findVerb(name string) (verb, bool) {
	for _, v := range verbs() {
		if v.name == name {
			return v, true
		}
	}
	return verb{}, false
}
