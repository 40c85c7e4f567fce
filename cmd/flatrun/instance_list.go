package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/flatrun/flatrun/runtime/instance"
)

// listedInstance is an element of the document that instance list --json prints.
type listedInstance struct {
	Instance string `json:"instance"`
	PID      int    `json:"pid"`
	Image    string `json:"img"`
	IP       string `json:"ip"` // always empty: no addresses are given out
	LogErr   string `json:"logErrPath"`
	LogOut   string `json:"logOutPath"`
}

func runInstanceList(p *program, o *options, args []string) error {
	if o.JSON && o.Stop.Logs {
		return fatal("more than one flags have been set: --json shows the logs already")
	}
	store, err := p.instances(o)
	if err != nil {
		return err
	}
	states, err := store.List(pattern(args))
	if err != nil {
		return err
	}
	switch {
	case o.JSON:
		return p.printInstancesJSON(states)
	case o.Stop.Logs:
		return p.printTable("INSTANCE NAME\tPID\tLOGS", states, func(s instance.State) string {
			return fmt.Sprintf("%s\t%d\t%s\n\t\t%s", s.Name, s.PID, s.LogErr, s.LogOut)
		})
	}
	return p.printTable("INSTANCE NAME\tPID\tIP\tIMAGE", states, func(s instance.State) string {
		return fmt.Sprintf("%s\t%d\t\t%s", s.Name, s.PID, s.Image)
	})
}

func (p *program) printInstancesJSON(states []instance.State) error {
	list := make([]listedInstance, 0, len(states))
	for _, s := range states {
		list = append(list, listedInstance{s.Name, s.PID, s.Image, "", s.LogErr, s.LogOut})
	}
	return p.printDocument(map[string]any{"instances": list})
}

// printDocument prints JSON for programs, one value a line.
func (p *program) printDocument(v any) error {
	e := json.NewEncoder(p.stdout)
	e.SetIndent("", "\t")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func (p *program) printTable(head string, states []instance.State, row func(instance.State) string) error {
	w := tabwriter.NewWriter(p.stdout, 0, 8, 4, ' ', 0)
	fmt.Fprintln(w, head)
	for _, s := range states {
		fmt.Fprintln(w, row(s))
	}
	return w.Flush()
}
