package main

import (
	"fmt"
	"strings"
)

// roff keeps text from being taken for requests of troff.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	var b strings.Builder
	for _, c := range strings.Join(lines, "\n") {
		if c < 0x80 {
			b.WriteRune(c)
		} else {
			fmt.Fprintf(&b, `\[u%04X]`, c)
		}
	}
	return b.String()
}

// head begins a page.
func head(b *strings.Builder, name, section, what string) {
	b.WriteString(".TH " + strings.ToUpper(name) + " " + section + " \"\" flatrun\n.SH NAME\n" + roff(name) + ` \- ` + roff(what) + "\n")
}

// example is text that stays as it is.
func example(b *strings.Builder, text string) {
	b.WriteString(".PP\n.RS 4\n.nf\n" + roff(strings.TrimRight(text, "\n")) + "\n.fi\n.RE\n")
}
