package main

import (
	"strconv"

	"github.com/spf13/pflag"
)

// global is what stands before the verb.
type global struct {
	quiet, silent, verbose, debug bool
	noColor, version, help        bool
	rest                          []string // the verb and all that follows
}

// parseGlobal reads the flags before the verb and sets how talkative the
// program is. It takes the shortest way for --version, which batch systems call
// on every start.
func (p *program) parseGlobal(args []string) (*global, error) {
	g := &global{}
	if len(args) == 1 && args[0] == "--version" {
		g.version = true
		return g, nil
	}
	set := p.newFlagSet(p.name)
	for _, f := range globalFlags(p, g) {
		f.define(set)
	}
	if err := set.Parse(args); err != nil {
		return nil, usageError{reason: err.Error()}
	}
	if err := p.applyTwins(set, globalFlags(p, g)); err != nil {
		return nil, err
	}
	g.rest = set.Args()
	p.setLevel(g)
	return g, nil
}

// setLevel chooses what is shown; the loudest switch wins, as with Apptainer.
func (p *program) setLevel(g *global) {
	switch {
	case g.debug:
		p.log.show = levelDebug
	case g.verbose:
		p.log.show = levelVerbose
	case g.quiet:
		p.log.show = showQuiet
	case g.silent:
		p.log.show = showSilent
	default:
		// A nested call inherits the level of the outer one through the environment.
		if n, err := strconv.Atoi(p.twin("MESSAGELEVEL")); err == nil {
			p.log.show = level(n % 90) // ±90 is added to switch the colour off
		}
	}
	if g.noColor {
		p.log.colour = false
	}
}

// newFlagSet makes a set that stops at the first operand: what follows IMAGE
// belongs to the command, dashes and all.
func (p *program) newFlagSet(name string) *pflag.FlagSet {
	set := pflag.NewFlagSet(name, pflag.ContinueOnError)
	set.SetInterspersed(false)
	set.SetOutput(p.log.w)
	set.Usage = func() {}
	return set
}
