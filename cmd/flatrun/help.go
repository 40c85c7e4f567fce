package main

import (
	"fmt"
	"io"
	"strings"
)

// helpWidth is the width that help texts are wrapped to.
const helpWidth = 80

// help answers --help and the help verb.
func (p *program) help(words []string) error {
	if len(words) > 0 && words[0] == "help" {
		words = words[1:]
	}
	if len(words) == 0 {
		return p.printProgramHelp()
	}
	v := findVerb(words[0])
	if v == nil {
		return p.unknownVerb(words[0])
	}
	if v.verbs != nil && len(words) > 1 {
		return p.runNested(v, []string{words[1], "--help"})
	}
	return p.printVerbHelp(v)
}

func (p *program) printProgramHelp() error {
	var b strings.Builder
	fmt.Fprintf(&b, "Run commands in container images that lie unpacked in CVMFS repositories or plain directories\n\n")
	fmt.Fprintf(&b, "Usage:\n  %s [global options...] <command>\n\n", p.name)
	fmt.Fprintf(&b, "Global Options:\n")
	writeFlags(&b, globalFlags(p, &global{}))
	fmt.Fprintf(&b, "\nAvailable Commands:\n")
	for _, v := range verbs() {
		if !v.hidden {
			fmt.Fprintf(&b, "  %-11s %s\n", v.name, v.short)
		}
	}
	fmt.Fprintf(&b, "\nExamples:\n%s", examples(p.name,
		"{} exec /cvmfs/unpacked.cern.ch/registry.hub.docker.com/library/debian:12 cat /etc/os-release",
		"{} shell --contain registry.example.org/library/python:3.12",
		"{} doctor"))
	fmt.Fprintf(&b, "\nRun '%s <command> --help' for one command, '%s doctor' when nothing works.\n", p.name, p.name)
	return p.print(b.String())
}

func (p *program) printVerbHelp(v *verb) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nUsage:\n  %s\n", v.short, p.useLine(v))
	if v.long != "" {
		fmt.Fprintf(&b, "\nDescription:\n%s", indent(v.long))
	}
	if v.verbs != nil {
		fmt.Fprintf(&b, "\nAvailable Commands:\n")
		for _, child := range v.shown() {
			fmt.Fprintf(&b, "  %-11s %s\n", child.name, child.short)
		}
	} else {
		fmt.Fprintf(&b, "\nOptions:\n")
		writeFlags(&b, p.verbFlags(v, &options{}))
	}
	if v.examples != "" {
		fmt.Fprintf(&b, "\nExamples:\n%s", examples(p.name, strings.Split(v.examples, "\n")...))
	}
	return p.print(b.String())
}

func (p *program) print(s string) error {
	_, err := io.WriteString(p.stdout, s)
	return err
}

// useLine is the line "flatrun exec [options...] IMAGE …".
func (p *program) useLine(v *verb) string {
	switch {
	case v.verbs != nil:
		return fmt.Sprintf("%s %s <command>", p.name, v.name)
	case v.operands == "":
		return fmt.Sprintf("%s %s [options...]", p.name, v.path())
	}
	return fmt.Sprintf("%s %s [options...] %s", p.name, v.path(), v.operands)
}

// writeFlags lists the visible flags with their texts wrapped in a column.
func writeFlags(b *strings.Builder, table []flag) {
	const column = 28
	for _, f := range table {
		if f.hidden {
			continue
		}
		head := "      --" + f.name
		if f.short != "" {
			head = "  -" + f.short + ", --" + f.name
		}
		if f.arg != "" {
			head += " <" + f.arg + ">"
		}
		if len(head) > column-2 {
			b.WriteString(head + "\n")
			head = ""
		}
		for i, line := range wrap(f.help, helpWidth-column) {
			if i > 0 {
				head = ""
			}
			fmt.Fprintf(b, "%-*s%s\n", column, head, line)
		}
	}
}

// wrap breaks text at blanks into lines of at most width bytes.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// indent wraps each paragraph and indents it by two blanks.
func indent(text string) string {
	var b strings.Builder
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			b.WriteString("\n")
		}
		for _, line := range wrap(paragraph, helpWidth-2) {
			b.WriteString("  " + line + "\n")
		}
	}
	return b.String()
}

// examples writes command lines with {} replaced by the program's name.
func examples(name string, lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		b.WriteString("  $ " + strings.ReplaceAll(line, "{}", name) + "\n")
	}
	return b.String()
}
