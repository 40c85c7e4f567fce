package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// program is one invocation: who was called, with what environment, and where
// its messages go.
type program struct {
	name    string   // base name it was called by: flatrun, apptainer, singularity
	environ []string // the caller's environment, K=V
	stdout  io.Writer
	log     *messages
	config  string            // --config FILE, or empty
	twins   map[string]string // the variables among environ that stand for flags
}

func newProgram(name string, environ []string) *program {
	p := &program{name: name, environ: environ, stdout: os.Stdout, log: newMessages(os.Stderr), twins: map[string]string{}}
	for _, kv := range environ {
		for _, prefix := range twinPrefixes {
			if strings.HasPrefix(kv, prefix) {
				key, value, _ := strings.Cut(kv, "=")
				p.twins[key] = value
			}
		}
	}
	return p
}

// getenv is os.Getenv over the environment the program was made with.
func (p *program) getenv(key string) string {
	value, _ := p.lookupEnv(key)
	return value
}

// lookupEnv finds the last setting of key.
func (p *program) lookupEnv(key string) (string, bool) {
	for i := len(p.environ) - 1; i >= 0; i-- {
		if k, v, ok := strings.Cut(p.environ[i], "="); ok && k == key {
			return v, true
		}
	}
	return "", false
}

// compatible reports whether the caller used one of Apptainer's names and so
// expects Apptainer's words where programs parse them.
func (p *program) compatible() bool {
	return p.name == "apptainer" || p.name == "singularity"
}

// main interprets the arguments after the program's name.
func (p *program) main(args []string) error {
	p.log.hold = true // until it is known that this program is not started once more
	global, err := p.parseGlobal(args)
	if err != nil {
		return err
	}
	switch {
	case global.version:
		return p.printVersionLine()
	case global.help || len(global.rest) > 0 && global.rest[0] == "help":
		return p.help(global.rest)
	case len(global.rest) == 0:
		return usageError{reason: "no command given"}
	}
	v := findVerb(global.rest[0])
	if v == nil {
		return p.unknownVerb(global.rest[0])
	}
	return p.runVerb(v, global.rest[1:])
}

// runVerb parses a verb's flags and runs it.
func (p *program) runVerb(v *verb, args []string) error {
	if v.verbs != nil {
		return p.runNested(v, args)
	}
	if v.refuse != "" {
		return fatal("%s: %s", v.path(), v.refuse)
	}
	if v.raw {
		p.log.release()
		return v.run(p, nil, args)
	}
	opts := &options{}
	rest, err := p.parseVerb(v, opts, args)
	if err != nil {
		return err
	}
	if opts.Help {
		return p.printVerbHelp(v)
	}
	if err := v.checkCount(len(rest)); err != nil {
		return err
	}
	if !v.starts {
		p.log.release()
	}
	return v.run(p, opts, rest)
}

// checkCount checks the number of operands.
func (v *verb) checkCount(n int) error {
	if n >= v.min && (v.max < 0 || n <= v.max) {
		return nil
	}
	reason := fmt.Sprintf("accepts between %d and %d arg(s), received %d", v.min, v.max, n)
	switch {
	case v.max < 0:
		reason = fmt.Sprintf("requires at least %d arg(s), only received %d", v.min, n)
	case v.min == v.max:
		reason = fmt.Sprintf("accepts %d arg(s), received %d", v.min, n)
	case v.min == 0:
		reason = fmt.Sprintf("accepts at most %d arg(s), received %d", v.max, n)
	}
	return usageError{verb: v, reason: reason}
}

// runNested runs the verb below a group such as "config show".
func (p *program) runNested(group *verb, args []string) error {
	if len(args) == 0 {
		return usageError{verb: group, reason: "invalid command"}
	}
	if args[0] == "-h" || args[0] == "--help" {
		return p.printVerbHelp(group)
	}
	for i := range group.verbs {
		if group.verbs[i].named(args[0]) {
			child := group.verbs[i]
			child.parent = group.name
			return p.runVerb(&child, args[1:])
		}
	}
	return usageError{verb: group, reason: "unknown command \"" + args[0] + "\""}
}
