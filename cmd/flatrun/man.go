package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/flatrun/flatrun/cmd/show"
)

// runMan writes a page for the program and one for each verb, in the format of man(7).
func runMan(p *program, _ *options, args []string) error {
	if err := os.MkdirAll(args[0], 0o755); err != nil {
		return err
	}
	p.name = "flatrun" // whatever it was called by
	all := verbs()
	pages := map[string]string{"flatrun.1": manProgram(p, all)}
	for i := range all {
		if v := &all[i]; !v.hidden {
			pages["flatrun-"+v.name+".1"] = manVerb(p, v)
		}
	}
	for name, text := range pages {
		if err := os.WriteFile(filepath.Join(args[0], name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func manProgram(p *program, all []verb) string {
	var b strings.Builder
	manHead(&b, "flatrun", "run commands in unpacked container images without privileges")
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B flatrun\n[global options...] <command>\n.SH COMMANDS\n")
	for _, v := range all {
		if !v.hidden {
			fmt.Fprintf(&b, ".TP\n.BR flatrun-%s (1)\n%s\n", show.Roff(v.name), show.Roff(v.short))
		}
	}
	b.WriteString(".SH GLOBAL OPTIONS\n")
	manFlags(&b, globalFlags(p, &global{}))
	b.WriteString(".SH ENVIRONMENT\nEvery option has a twin in the environment, named below it: FLATRUN_ and the name, else APPTAINER_ and the name, else SINGULARITY_ and the name. The option itself is stronger.\n")
	b.WriteString(".SH EXIT STATUS\nThat of the command; 255 if it could not be started, with a line on standard error that begins with FATAL:; 1 for a wrong command line.\n")
	b.WriteString(".SH SEE ALSO\n.BR flatrun\\-config (5),\n.BR flathub (1)\n")
	return b.String()
}

func manVerb(p *program, v *verb) string {
	var b strings.Builder
	manHead(&b, "flatrun-"+v.name, strings.ToLower(v.short[:1])+v.short[1:])
	fmt.Fprintf(&b, ".SH SYNOPSIS\n%s\n", show.Roff(p.useLine(v)))
	if v.long != "" {
		fmt.Fprintf(&b, ".SH DESCRIPTION\n%s\n", strings.ReplaceAll(show.Roff(v.long), "\n\n", "\n.PP\n"))
	}
	if v.verbs != nil {
		b.WriteString(".SH COMMANDS\n")
	}
	for _, child := range v.shown() {
		child.parent = v.name
		manChild(&b, p, &child)
	}
	if v.verbs == nil {
		b.WriteString(".SH OPTIONS\n")
		manFlags(&b, p.verbFlags(v, &options{}))
	}
	if v.examples != "" {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", show.Roff(strings.ReplaceAll(v.examples, "{}", "flatrun")))
	}
	b.WriteString(".SH SEE ALSO\n.BR flatrun (1),\n.BR flatrun\\-config (5)\n")
	return b.String()
}

// manChild describes one verb of a group.
func manChild(b *strings.Builder, p *program, v *verb) {
	fmt.Fprintf(b, ".SS %s\n%s\n.PP\n%s.\n", show.Roff(v.path()), show.Roff(p.useLine(v)), show.Roff(v.short))
	if v.long != "" {
		fmt.Fprintf(b, ".PP\n%s\n", strings.ReplaceAll(show.Roff(v.long), "\n\n", "\n.PP\n"))
	}
	manFlags(b, p.verbFlags(v, &options{}))
	if v.examples != "" {
		fmt.Fprintf(b, ".PP\n.RS 4\n.nf\n%s\n.fi\n.RE\n", show.Roff(strings.ReplaceAll(v.examples, "{}", "flatrun")))
	}
}

func manHead(b *strings.Builder, name, what string) {
	fmt.Fprintf(b, ".TH %s 1 \"\" \"flatrun %s\"\n.SH NAME\n%s \\- %s\n", strings.ToUpper(name), version, name, show.Roff(what))
}

func manFlags(b *strings.Builder, table []flag) {
	for _, f := range table {
		if f.hidden {
			continue
		}
		name := `\-\-` + show.Roff(f.name)
		if f.short != "" {
			name = `\-` + f.short + ", " + name
		}
		if f.arg != "" {
			name += " <" + show.Roff(f.arg) + ">"
		}
		fmt.Fprintf(b, ".TP\n.B %s\n%s.\n", name, show.Roff(f.help))
		if len(f.twins) > 0 {
			fmt.Fprintf(b, "(%s)\n", strings.Join(f.twins, ", "))
		}
	}
}
