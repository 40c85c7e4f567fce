package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/flatrun/flatrun/unpacked/convert"
	"github.com/flatrun/flatrun/unpacked/publish"
	"github.com/flatrun/flatrun/unpacked/wishlist"
)

// syncOptions are the flags of sync.
type syncOptions struct {
	place
	sourceFlags
	layerFlags
	watch    bool
	interval time.Duration
	grace    time.Duration
	dryRun   bool
	thin     bool
	noTag    bool
}

func syncVerb() verb {
	var o syncOptions
	return verb{
		name: "sync", operands: "WISHLIST.yaml", min: 1, max: 1,
		short: "convert what a wish list names, remove what it names no longer",
		long: `
The list is DUCC's recipe, version 1: cvmfs_repo, user, output_format, and input with image names
whose tag may have *. What the repository has is skipped; an image that fails is reported at the
end and stops no other. What the list named once and names no more goes after the grace period,
its bytes with the next flathub gc. Lists of one repository are told apart by their files' names.
The exit code is 1 if a wish failed.`,
		examples: `
flathub sync wishes.yaml
flathub sync wishes.yaml --watch --interval 10m
flathub sync wishes.yaml --dry-run`,
		flags: func(f *pflag.FlagSet) {
			f.BoolVar(&o.watch, "watch", false, "repeat; the list is read again each time")
			addDuration(f, &o.interval, "interval", 5*time.Minute, "pause between two runs of --watch")
			addDuration(f, &o.grace, "grace", 10*24*time.Hour, "how long what nobody wishes for stays")
			f.BoolVar(&o.dryRun, "dry-run", false, "only tell what would be converted and removed")
			f.BoolVar(&o.thin, "thin", false, "push thin images under output_format")
			f.BoolVar(&o.noTag, "no-tag", false, "no tag but trunk")
			o.sourceFlags.add(f)
			o.layerFlags.add(f)
			o.place.addWriter(f)
		},
		run: func(ctx context.Context, a *app, args []string) error { return a.syncLoop(ctx, args[0], o) },
	}
}

// syncLoop runs once, or until it is interrupted.
func (a *app) syncLoop(ctx context.Context, file string, o syncOptions) error {
	for {
		err := a.sync(ctx, file, o)
		if !o.watch || ctx.Err() != nil {
			return err
		}
		if err != nil {
			fmt.Fprintf(a.err, "flathub: %v; the next try in %s\n", err, o.interval)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(o.interval):
		}
	}
}

func (a *app) sync(ctx context.Context, file string, o syncOptions) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	list, err := wishlist.Parse(file, text)
	if err != nil {
		return err
	}
	for _, w := range list.Warnings {
		fmt.Fprintf(a.err, "flathub: %s\n", w)
	}
	r, err := a.find(list.Repository, o.place)
	if err != nil {
		return err
	}
	source, err := o.source("sync")
	if err != nil {
		return err
	}
	p := a.progress()
	meters := a.layerMeters(p)
	s := convert.Sync{
		Begin:  func(ctx context.Context) (*publish.Tx, error) { return a.begin(ctx, r) },
		Source: source, FQRN: r.fqrn, List: list, ListName: filepath.Base(file), Thin: o.thin, DryRun: o.dryRun, Grace: o.grace, NoTag: o.noTag,
		MaxLayer: o.max(),
		Progress: meters.update,
		Note:     func(line string) { fmt.Fprintln(a.err, line) },
	}
	report, err := s.Run(ctx)
	meters.end()
	p.wait()
	if err != nil {
		if report.Revision > 0 { // a long run publishes several
			err = errors.Join(a.print(report, describeReport(r.fqrn, report)), err)
		}
		return fmt.Errorf("sync %s: %w", file, err)
	}
	if err := a.print(report, describeReport(r.fqrn, report)); err != nil {
		return err
	}
	if len(report.Failures) > 0 {
		return silentError{}
	}
	return nil
}

func describeReport(fqrn string, r convert.Report) string {
	var b strings.Builder
	for _, c := range r.Converted {
		b.WriteString(describeResult(c))
	}
	for _, p := range r.Pushed {
		fmt.Fprintf(&b, "pushed %s\n", p)
	}
	would := ""
	if r.DryRun {
		would = "would be "
	}
	for _, m := range r.Missing {
		fmt.Fprintf(&b, "would convert %s\n", m)
	}
	for _, p := range r.Removed {
		fmt.Fprintf(&b, "%sremoved %s\n", would, p)
	}
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "failed: %s\n", f)
	}
	fmt.Fprintf(&b, "%s: %d wishes: %d images %sconverted, %d unchanged, %d failed, %d %sremoved", fqrn, r.Wishes,
		len(r.Converted)+len(r.Missing), would, r.Unchanged, len(r.Failures), len(r.Removed), would)
	if r.Revision > 0 {
		fmt.Fprintf(&b, "; revision %d", r.Revision)
	}
	b.WriteByte('\n')
	return b.String()
}
