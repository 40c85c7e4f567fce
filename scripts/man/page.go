package main

import (
	"strings"

	"github.com/flatrun/flatrun/cmd/show"
)

// head begins a page.
func head(b *strings.Builder, name, section, what string) {
	b.WriteString(".TH " + strings.ToUpper(name) + " " + section + " \"\" flatrun\n.SH NAME\n" + show.Roff(name) + ` \- ` + show.Roff(what) + "\n")
}

// example is text that stays as it is.
func example(b *strings.Builder, text string) {
	b.WriteString(".PP\n.RS 4\n.nf\n" + show.Roff(strings.TrimRight(text, "\n")) + "\n.fi\n.RE\n")
}
