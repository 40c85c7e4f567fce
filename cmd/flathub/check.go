package main

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/flatrun/flatrun/cmd/show"
	"github.com/flatrun/flatrun/unpacked/publish"
)

func checkVerb() verb {
	var p place
	var o publish.CheckOptions
	var fast bool
	return verb{
		name: "check", operands: "FQRN", min: 1, max: 1,
		short: "verify signatures, catalogs and objects",
		long: `
Everything that the newest revision consists of is read: signatures, tags, all catalogs with
their statistics recomputed, and every object's hash. Only the public key is needed. The exit
code is 1 if anything is wrong.`,
		examples: "flathub check images.example.org\nflathub check images.example.org --fast --tags",
		flags: func(f *pflag.FlagSet) {
			f.BoolVar(&fast, "fast", false, "only look whether objects are there, do not read them")
			f.BoolVar(&o.Tags, "tags", false, "also the revisions that tags name")
			p.add(f)
		},
		run: func(ctx context.Context, a *app, args []string) error {
			r, err := a.find(args[0], p)
			if err != nil {
				return err
			}
			if o.ReadOptions, err = r.reading(); err != nil {
				return err
			}
			o.Data = !fast
			progress := a.progress()
			watch := progress.count("check "+args[0], "entries")
			o.Progress = func(entries, objects int64) { watch.set(entries) }
			report, err := publish.Check(ctx, r.storage, o)
			watch.end()
			progress.wait()
			if err != nil {
				return fmt.Errorf("check %s: %w", args[0], err)
			}
			return a.report(args[0], report)
		},
	}
}

func (a *app) report(fqrn string, r *publish.Report) error {
	for _, p := range r.Problems {
		if !a.json {
			fmt.Fprintf(a.err, "flathub: check %s: %s\n", fqrn, p)
		}
	}
	verdict := "no problems"
	if n := len(r.Problems); n > 0 {
		verdict = fmt.Sprintf("%d problems", n)
	} else {
		r.Problems = []string{}
	}
	err := a.print(map[string]any{
		"fqrn": fqrn, "revision": r.Revision, "catalogs": r.Catalogs, "entries": r.Entries, "objects": r.Objects,
		"missing": r.Missing, "bytes": r.Bytes, "problems": r.Problems,
	}, fmt.Sprintf("%s: revision %d: %d catalogs, %d entries, %d objects, %s: %s\n", fqrn, r.Revision, r.Catalogs, r.Entries,
		r.Objects, show.Size(r.Bytes), verdict))
	if err == nil && len(r.Problems) > 0 {
		err = silentError{}
	}
	return err
}
