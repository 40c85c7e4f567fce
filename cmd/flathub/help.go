package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
)

// help prints what the program does, or one verb's help.
func (a *app) help(args []string) error {
	if len(args) > 1 {
		v, ok := findVerb(args[1])
		if !ok {
			return unknownVerb(args[1])
		}
		f := pflag.NewFlagSet(v.name, pflag.ContinueOnError)
		f.SortFlags = false
		if v.flags != nil {
			v.flags(f)
		}
		v.help(a.out, f)
		return nil
	}
	fmt.Fprint(a.out, `flathub publishes container images and software trees into signed CVMFS repositories.

Usage:
  flathub COMMAND [FLAGS] FQRN …

Commands:
`)
	for _, v := range verbs() {
		fmt.Fprintf(a.out, "  %-10s %s\n", v.name, v.short)
	}
	fmt.Fprint(a.out, `
A repository is named by its fully qualified name (FQRN). Where its files and keys lie, init
notes in $FLATHUB_CONFIG, by default ~/.config/flathub, or /etc/flathub for root; --storage
and --keys say it otherwise. 'flathub COMMAND --help' tells more.
`)
	return nil
}

func (v verb) help(w io.Writer, f *pflag.FlagSet) {
	fmt.Fprintf(w, "%s\n\nUsage:\n  flathub %s [FLAGS] %s\n", v.short, v.name, v.operands)
	if v.long != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(v.long))
	}
	if v.examples != "" {
		fmt.Fprintf(w, "\nExamples:\n")
		for line := range strings.Lines(strings.TrimSpace(v.examples)) {
			fmt.Fprintf(w, "  %s", line)
		}
		fmt.Fprintln(w)
	}
	if usage := f.FlagUsages(); usage != "" {
		fmt.Fprintf(w, "\nFlags:\n%s", usage)
	}
}
