package main

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/flatrun/flatrun/mount/probe"
)

// runDoctor shows what this host offers, and ends with 1 if that is not enough.
func runDoctor(p *program, o *options, _ []string) error {
	report := probe.Run(probe.Options{Env: p.getenv})
	report.Results = append(report.Results, p.configured()...)
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

// configured is what the configuration names, which flatrun-session reads: the caches.
func (p *program) configured() (rows []probe.Result) {
	var answer bytes.Buffer
	err := p.callSession(&answer, "doctor")
	if err == nil {
		err = json.Unmarshal(answer.Bytes(), &rows)
	}
	if err != nil {
		return []probe.Result{{Name: sessionProgram, State: probe.Failed, Required: true, Reason: err.Error(),
			Advice: "images in repositories need it: install all programs of one version of flatrun"}}
	}
	return rows
}
