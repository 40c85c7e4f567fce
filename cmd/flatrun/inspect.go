package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/runtime/image"
	"github.com/flatrun/flatrun/runtime/singularity"
)

// runInspect answers the inspect verb: JSON, or the parts one after the other.
func runInspect(p *program, o *options, args []string) error {
	i := o.Inspect
	want := singularity.Wanted{
		Labels: i.Labels, Deffile: i.Deffile, Runscript: i.Runscript, Startscript: i.Startscript,
		Test: i.Test, Environment: i.Environment, Help: i.Help, Apps: i.ListApps, App: o.App,
	}
	if want == (singularity.Wanted{App: o.App}) {
		want.Labels = true
	}
	if i.All {
		want, i.JSON = singularity.All(), true
	}
	m, err := p.inspect(args[0], want)
	if err != nil {
		return err
	}
	if i.JSON {
		text, err := json.MarshalIndent(m, "", "\t")
		if err != nil {
			return err
		}
		return p.print(string(text) + "\n")
	}
	return p.printMetadata(m, i.ListApps, o.App)
}

// runRunHelp answers the run-help verb.
func runRunHelp(p *program, o *options, args []string) error {
	m, err := p.inspect(args[0], singularity.Wanted{Help: true, App: o.App})
	if err != nil {
		return err
	}
	text := m.Data.Attributes.Helpfile
	if app := m.Data.Attributes.Apps[o.App]; app != nil {
		text = app.Helpfile
	}
	if text == "" {
		text = "No help sections were defined for this image"
	}
	return p.print(text + "\n")
}

// inspect finds an image and reads its metadata.
func (p *program) inspect(arg string, want singularity.Wanted) (*singularity.Metadata, error) {
	i, err := p.findImage(arg)
	if err != nil {
		return nil, err
	}
	root, err := singularity.OpenRoot(i.Root)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return singularity.Inspect(root, i.Config, want)
}

// findImage finds an image that is looked at, not run.
func (p *program) findImage(arg string) (*image.Image, error) {
	c := &container{program: p, options: &options{}, arg: arg}
	var err error
	if c.kind, _, err = image.Classify(arg); err != nil {
		return nil, err
	}
	switch c.kind {
	case image.Directory:
		return image.FromDirectory(arg)
	case image.Instance:
		return nil, fatal("image %s: only an image can be inspected", arg)
	}
	if c.state, err = enter.Ensure(context.Background(), enter.Plan{Join: true}, enter.StartOptions{Config: p.config}); err != nil {
		return nil, err
	}
	err = c.find()
	return c.image, err
}

// printMetadata prints the parts in the order of Apptainer.
func (p *program) printMetadata(m *singularity.Metadata, listApps bool, name string) error {
	a := m.Data.Attributes
	var b strings.Builder
	if listApps {
		for _, app := range slices.Sorted(maps.Keys(a.Apps)) {
			b.WriteString(app + "\n")
		}
	}
	if app := a.Apps[name]; app != nil {
		a.Runscript, a.Test, a.Helpfile, a.Environment, a.Labels = app.Runscript, app.Test, app.Helpfile, app.Environment, app.Labels
	}
	for _, text := range []string{a.Deffile, a.Runscript, a.Startscript, a.Test, a.Helpfile} {
		if text != "" {
			b.WriteString(text + "\n")
		}
	}
	for _, file := range slices.Sorted(maps.Keys(a.Environment)) {
		fmt.Fprintf(&b, "=== %s ===\n%s\n\n", file, a.Environment[file])
	}
	for _, label := range slices.Sorted(maps.Keys(a.Labels)) {
		fmt.Fprintf(&b, "%s: %s\n", label, a.Labels[label])
	}
	return p.print(b.String())
}
