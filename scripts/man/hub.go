package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
	"strings"

	"github.com/flatrun/flatrun/cmd/show"
)

// hubPages makes flathub.1 and a page for each verb out of what the program says to --help.
func hubPages(program string) (map[string]string, error) {
	overview, err := exec.Command(program, "help").Output()
	if err != nil {
		return nil, fmt.Errorf("%s help: %w", program, err)
	}
	pages := map[string]string{}
	var b strings.Builder
	what, _, _ := strings.Cut(string(overview), "\n")
	head(&b, "flathub", "1", strings.TrimSuffix(strings.TrimPrefix(what, "flathub "), "."))
	b.WriteString(".SH SYNOPSIS\n.B flathub\nCOMMAND [FLAGS] FQRN ...\n.SH COMMANDS\n")
	for _, verb := range hubVerbs(overview) {
		text, err := exec.Command(program, "help", verb.name).Output()
		if err != nil {
			return nil, fmt.Errorf("%s help %s: %w", program, verb.name, err)
		}
		fmt.Fprintf(&b, ".TP\n.BR flathub\\-%s (1)\n%s\n", show.Roff(verb.name), show.Roff(verb.what))
		pages["flathub-"+verb.name+".1"] = hubPage(verb, string(text))
	}
	if _, rest, ok := strings.Cut(string(overview), "\nA repository"); ok {
		b.WriteString(".SH REPOSITORIES\n" + show.Roff("A repository"+rest))
	}
	b.WriteString(".SH SEE ALSO\n.BR flatrun (1)\n")
	pages["flathub.1"] = b.String()
	return pages, nil
}

type hubVerb struct{ name, what string }

// hubVerbs reads the list of commands.
func hubVerbs(overview []byte) (verbs []hubVerb) {
	_, list, _ := bytes.Cut(overview, []byte("Commands:\n"))
	for s := bufio.NewScanner(bytes.NewReader(list)); s.Scan() && strings.HasPrefix(s.Text(), "  "); {
		name, what, _ := strings.Cut(strings.TrimSpace(s.Text()), " ")
		verbs = append(verbs, hubVerb{name, strings.TrimSpace(what)})
	}
	return verbs
}

// hubPage turns a help text into a page: what stands before "Usage:" is known, and each title becomes a section.
func hubPage(verb hubVerb, text string) string {
	var b strings.Builder
	head(&b, "flathub-"+verb.name, "1", strings.ToLower(verb.what[:1])+verb.what[1:])
	_, text, _ = strings.Cut(text, "Usage:\n")
	usage, text, _ := strings.Cut(text, "\n\n")
	b.WriteString(".SH SYNOPSIS\n" + show.Roff(strings.TrimSpace(usage)) + "\n")
	titles := map[string]string{"Examples:": "EXAMPLES", "Flags:": "OPTIONS"}
	open := false
	for _, part := range strings.Split(strings.TrimRight(text, "\n"), "\n\n") {
		title, body, _ := strings.Cut(part, "\n")
		if name := titles[strings.TrimSpace(title)]; name != "" {
			b.WriteString(".SH " + name + "\n")
			example(&b, body)
			open = true
			continue
		}
		if strings.TrimSpace(part) == "" {
			continue
		}
		if !open {
			b.WriteString(".SH DESCRIPTION\n")
			open = true
		} else {
			b.WriteString(".PP\n")
		}
		b.WriteString(show.Roff(part) + "\n")
	}
	b.WriteString(".SH SEE ALSO\n.BR flathub (1)\n")
	return b.String()
}
