package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/flatrun/flatrun/cmd/show"
)

// imageQuery is what flatrun-session images is asked (session.ImageQuery).
type imageQuery struct {
	Patterns, Terms []string
	Repositories    []string
	Long            bool
	Complete        *string `json:",omitempty"` // asks for names that begin with it, in place of a list
}

// listedImage is one image of its answer (session.Image).
type listedImage struct {
	Name, Tag, Path, Repository, Platform string
	Published                             time.Time
	Revision                              uint64
	Size                                  int64
}

// reference is the name in full, as session.Image.Reference has it.
func (i listedImage) reference() string {
	s := i.Name
	if i.Tag != "" {
		s += ":" + i.Tag
	}
	if _, rest, ok := strings.Cut(path.Base(i.Path), "@"); ok {
		s += "@" + rest
	}
	return s
}

// discoveryVerbs find images.
func discoveryVerbs() []verb {
	flags := func(o *options) []flag {
		return []flag{
			{name: "json", short: "j", value: &o.JSON, help: "print structured JSON"},
			{name: "long", short: "l", value: &o.Long, help: "look up platform and size of each image, which takes longer"},
			{name: "repository", short: "r", value: &o.Repositories, arg: "list", help: "look into these repositories only"},
		}
	}
	return []verb{
		{
			name: "images", operands: "[PATTERN...]", min: 0, max: -1, flags: flags, run: runImages,
			short: "List the images that the configured repositories hold",
			long: "PATTERN is a name of which parts in front and the tag may be left out. In it * stands for any text, ? for one character, [a-z] for one of several.\n\n" +
				"Each line has the name for exec, when it was published, and the repository with the revision that was looked at.",
			examples: "{} images\n{} images debian 'cms*/alma:9*'\n{} images --long --json --repository unpacked.cern.ch 'python:3.*'",
		},
		{
			name: "search", operands: "TERM...", min: 1, max: -1, flags: flags, run: runSearch,
			short:    "Search the names of images",
			long:     "Lists the images that have all TERMs in their name, in upper or lower case.",
			examples: "{} search root cuda",
		},
	}
}

func runImages(p *program, o *options, args []string) error {
	return p.listImages(o, imageQuery{Patterns: args})
}

func runSearch(p *program, o *options, args []string) error {
	return p.listImages(o, imageQuery{Terms: args})
}

// listImages prints what is found; repositories that fail are the error
// nevertheless.
func (p *program) listImages(o *options, q imageQuery) error {
	q.Long, q.Repositories = o.Long, o.Repositories
	query, err := json.Marshal(q)
	if err != nil {
		return err
	}
	if o.JSON {
		return p.callSession(p.stdout, "images", string(query))
	}
	var answer bytes.Buffer
	failed := p.callSession(&answer, "images", string(query))
	var list []listedImage
	if err := json.Unmarshal(answer.Bytes(), &list); err != nil {
		if failed != nil {
			return failed
		}
		return fatal("list of images: %w", err)
	}
	if len(list) == 0 && failed == nil {
		p.log.infof("no image matches")
	}
	if err := writeImages(p.stdout, list, o.Long); err != nil {
		return err
	}
	return failed
}

// writeImages makes a table, an image a line.
func writeImages(w io.Writer, list []listedImage, long bool) error {
	if len(list) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	columns := []string{"IMAGE", "PUBLISHED", "REPOSITORY"}
	if long {
		columns = append(columns, "PLATFORM", "SIZE")
	}
	fmt.Fprintln(t, strings.Join(columns, "\t"))
	for _, i := range list {
		fmt.Fprintf(t, "%s\t%s\t%s@%d", i.reference(), i.Published.Local().Format("2006-01-02 15:04"), i.Repository, i.Revision)
		if long {
			fmt.Fprintf(t, "\t%s\t%s", dash(i.Platform), imageSize(i.Size))
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func imageSize(n int64) string {
	if n == 0 {
		return "-"
	}
	return show.Size(n)
}
