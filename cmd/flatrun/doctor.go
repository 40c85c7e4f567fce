package main

import (
	"bytes"
	"strings"

	"github.com/flatrun/flatrun/mount/probe"
)

// runDoctor shows what this host offers, and ends with 1 if that is not enough.
func runDoctor(p *program, o *options, _ []string) error {
	report := probe.Run(probe.Options{Env: p.getenv})
	var b bytes.Buffer
	write := report.Text
	if o.JSON {
		write = report.JSON
	}
	if err := write(&b); err != nil {
		return err
	}
	if err := p.print(strings.TrimRight(b.String(), "\n") + "\n"); err != nil {
		return err
	}
	if !report.OK() {
		return exitCode(1)
	}
	return nil
}
