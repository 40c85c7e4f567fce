// Package wishlist reads the list of images that a repository should hold, in DUCC's recipe format, version 1.
package wishlist

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/flatrun/flatrun/unpacked"
	"github.com/flatrun/flatrun/unpacked/near"
)

// DefaultOutput is the output_format of a list that has none.
const DefaultOutput = "$(scheme)://$(registry)/$(repository)_thin:$(tag)"

// List is a wish list.
type List struct {
	Repository string // FQRN to convert into
	User       string // name to push thin images as
	Output     string // name of a thin image, with variables; see Wish.ThinName
	Wishes     []Wish
	Bad        []error  // lines of input that name no image, each an *Error
	Warnings   []string // about what was passed over, each with its line
}

// Wish is one line of input.
type Wish struct {
	Text  string
	Line  int
	Image unpacked.Reference // the tag may have "*" in it
}

// Error is one fault of a list.
type Error struct {
	File string
	Line int
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// keys are the known ones; the last two belong to newer versions of DUCC and
// mean nothing here.
var keys = []string{"version", "user", "cvmfs_repo", "output_format", "input", "ignoreErrors", "ignore_errors"}

// Parse reads a list; file is its name for messages. All faults of the list as
// such are reported, joined, each an *Error. A wish that names no image is only
// put into Bad, so that one typing error does not stop the conversion of a
// thousand others.
func Parse(file string, data []byte) (*List, error) {
	var doc yaml.Node
	d := yaml.NewDecoder(strings.NewReader(string(data)))
	if err := d.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("the wish list is empty")
		}
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	p := parser{file: file, list: List{Output: DefaultOutput}}
	p.document(&doc)
	if len(p.faults) > 0 {
		return nil, errors.Join(p.faults...)
	}
	return &p.list, nil
}

type parser struct {
	file   string
	list   List
	seen   map[string]bool
	faults []error
}

func (p *parser) fault(n *yaml.Node, format string, args ...any) {
	p.faults = append(p.faults, &Error{File: p.file, Line: n.Line, Err: fmt.Errorf(format, args...)})
}

func (p *parser) bad(n *yaml.Node, err error) {
	p.list.Bad = append(p.list.Bad, &Error{File: p.file, Line: n.Line, Err: err})
}

func (p *parser) document(doc *yaml.Node) {
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		p.fault(doc, "want keys and values: version, cvmfs_repo, input")
		return
	}
	root := doc.Content[0]
	p.seen = make(map[string]bool)
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if p.seen[key.Value] {
			p.fault(key, "%s is given twice", key.Value)
			continue
		}
		p.seen[key.Value] = true
		p.entry(key, value)
	}
	for _, name := range []string{"version", "cvmfs_repo", "input"} {
		if !p.seen[name] {
			p.fault(root, "%s is missing", name)
		}
	}
}

func (p *parser) entry(key, value *yaml.Node) {
	switch key.Value {
	case "version":
		if v := p.text(key, value); v != "1" && v != "" {
			p.fault(value, "version %s is not known; this program reads version 1", v)
		}
	case "user":
		p.list.User = p.text(key, value)
	case "cvmfs_repo":
		p.list.Repository = p.text(key, value)
		if err := unpacked.CheckFQRN(p.list.Repository); err != nil {
			p.fault(value, "cvmfs_repo: %v", err)
		}
	case "output_format":
		if value.Value == "" {
			return // as absent
		}
		p.list.Output = p.text(key, value)
		if err := checkFormat(p.list.Output); err != nil {
			p.fault(value, "output_format: %v", err)
		}
	case "input":
		p.input(value)
	default:
		if !slices.Contains(keys, key.Value) {
			// DUCC passes over what it does not know, so its lists may have more.
			p.list.Warnings = append(p.list.Warnings,
				fmt.Sprintf("%s:%d: %s is not known and has no effect%s", p.file, key.Line, key.Value, near.Hint(key.Value, keys)))
		}
	}
}

func (p *parser) text(key, value *yaml.Node) string {
	if value.Kind != yaml.ScalarNode || value.Tag == "!!null" {
		p.fault(value, "%s: want one word", key.Value)
		return ""
	}
	return value.Value
}

func (p *parser) input(value *yaml.Node) {
	if value.Kind == yaml.ScalarNode && value.Tag == "!!null" {
		return // every wish may be commented out
	}
	if value.Kind != yaml.SequenceNode {
		p.fault(value, "input: want a list of images, one per line after a dash")
		return
	}
	for _, item := range value.Content {
		if item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
			p.bad(item, errors.New("want the name of an image; quote names that hold YAML's own characters"))
			continue
		}
		image, err := unpacked.ParsePattern(item.Value, "")
		if err != nil {
			p.bad(item, err)
			continue
		}
		p.list.Wishes = append(p.list.Wishes, Wish{Text: item.Value, Line: item.Line, Image: image})
	}
}
