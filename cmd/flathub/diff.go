package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"

	"github.com/flatrun/flatrun/unpacked/publish"
)

func diffVerb() verb {
	var p place
	return verb{
		name: "diff", operands: "FQRN [FROM [TO]]", min: 1, max: 3,
		short: "list what differs between two revisions",
		long: `
FROM and TO are tags, numbers or root catalogs' hashes; by default trunk-previous and the
newest. Each line is a path: + added, - removed, ~ changed. With --json each line is an
object.`,
		examples: "flathub diff sw.example.org\nflathub diff sw.example.org release-6 release-7",
		flags:    p.add,
		run: func(ctx context.Context, a *app, args []string) error {
			r, err := a.find(args[0], p)
			if err != nil {
				return err
			}
			o, err := r.reading()
			if err != nil {
				return err
			}
			from, to := "trunk-previous", ""
			if len(args) > 1 {
				from = args[1]
			}
			if len(args) > 2 {
				to = args[2]
			}
			w := bufio.NewWriter(a.out)
			defer w.Flush()
			for c, err := range publish.Diff(ctx, r.storage, o, from, to) {
				if err == nil {
					err = a.printChange(w, c)
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// change is one side of a difference for programs.
type change struct {
	Mode  string `json:"mode"` // octal, with type bits
	Size  int64  `json:"size"`
	Mtime int64  `json:"mtime"`
	UID   uint32 `json:"uid"`
	GID   uint32 `json:"gid"`
	Link  string `json:"link,omitempty"`
	Hash  string `json:"hash,omitempty"`
}

func newChange(it *publish.Item) *change {
	if it == nil {
		return nil
	}
	e := &it.Entry
	return &change{fmt.Sprintf("%o", e.Mode), e.StatSize(), e.Mtime, e.UID, e.GID, e.Symlink, e.Hash.String()}
}

func (a *app) printChange(w *bufio.Writer, c publish.Change) error {
	sign := "~"
	switch {
	case c.From == nil:
		sign = "+"
	case c.To == nil:
		sign = "-"
	}
	if a.json {
		return json.NewEncoder(w).Encode(map[string]any{"change": sign, "path": c.Path, "from": newChange(c.From), "to": newChange(c.To)})
	}
	slash := ""
	if isDir(c.From) || isDir(c.To) {
		slash = "/"
	}
	_, err := fmt.Fprintf(w, "%s %s%s\n", sign, c.Path, slash)
	return err
}

func isDir(it *publish.Item) bool { return it != nil && it.Entry.IsDir() }
