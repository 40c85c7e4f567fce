package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/flatrun/flatrun/mount/config/site"
	"github.com/flatrun/flatrun/unpacked"
	"github.com/flatrun/flatrun/unpacked/near"
)

// section is a part of a file that is read once more when a repository is put
// together.
type section struct {
	file string
	node *yaml.Node
}

// decoder reads YAML into structs, key by key, and keeps what it saw where.
type decoder struct {
	reader
	file   string
	note   func(key, origin string)
	faults []error
	budget int // nodes that may still be read: aliases can multiply them
}

const maxNodes = 20000

func (c *Config) decoder(file string, note func(key, origin string)) *decoder {
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		dir = filepath.Dir(file)
	}
	return &decoder{reader: reader{dir: dir, env: c.env}, file: file, note: note, budget: maxNodes}
}

// decode merges one of our files into the configuration.
func (c *Config) decode(file string, data []byte) error {
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil // an empty file says nothing
		}
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: more than one YAML document", file)
	}
	d := c.decoder(file, func(key, origin string) { c.origins[key] = origin })
	root := doc.Content[0]
	if root.Tag == "!!null" {
		return nil
	}
	d.mapping(root, reflect.ValueOf(c).Elem(), "")
	if len(d.faults) == 0 {
		c.keepSections(file, root)
	}
	return errors.Join(d.faults...)
}

// keepSections keeps what is read again for each repository.
func (c *Config) keepSections(file string, root *yaml.Node) {
	for i := 0; i+1 < len(root.Content); i += 2 {
		switch key, value := root.Content[i], resolve(root.Content[i+1]); key.Value {
		case "network":
			c.network = append(c.network, section{file, value})
		case "repositories":
			for j := 0; j+1 < len(value.Content); j += 2 {
				name := value.Content[j].Value
				c.sections[name] = append(c.sections[name], section{file, value.Content[j+1]})
			}
		}
	}
}

func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func (d *decoder) origin(n *yaml.Node) string { return fmt.Sprintf("%s:%d", d.file, n.Line) }

func (d *decoder) fault(n *yaml.Node, key string, err error) {
	if key != "" {
		err = fmt.Errorf("%s: %w", key, err)
	}
	d.faults = append(d.faults, fmt.Errorf("%s: %w", d.origin(n), err))
}

// mapping reads a section into struct v.
func (d *decoder) mapping(n *yaml.Node, v reflect.Value, prefix string) {
	n = resolve(n)
	if n.Tag == "!!null" {
		return // "cache:" with all lines below commented out
	}
	if n.Kind != yaml.MappingNode {
		d.fault(n, prefix, errors.New("want keys and values here"))
		return
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		path := key.Value
		if prefix != "" {
			path = prefix + "." + path
		}
		if seen[key.Value] {
			d.fault(key, path, errors.New("given twice in this section"))
			continue
		}
		seen[key.Value] = true
		f, ok := fieldOf(v, key.Value)
		if !ok {
			keys := keysOf(v)
			d.fault(key, "", fmt.Errorf("there is no key %s%s", path, near.Hint(key.Value, keys)))
			continue
		}
		d.value(n.Content[i+1], f, path)
	}
}

func (d *decoder) value(n *yaml.Node, f field, path string) {
	n = resolve(n)
	if d.budget--; d.budget < 0 {
		if d.budget == -1 {
			d.fault(n, path, fmt.Errorf("more than %d values", maxNodes))
		}
		return
	}
	switch p := f.value.Addr().Interface().(type) {
	case *map[string]*Repository:
		d.repositories(n, *p)
		return
	case *[]site.Bind:
		d.binds(n, p, path)
	case *[]string:
		if n.Kind != yaml.SequenceNode {
			d.scalar(n, f, path)
			break
		}
		*p = []string{}
		for _, item := range n.Content {
			d.item(item, f, p, path)
		}
	default:
		_, leaf := p.(*time.Duration)
		if !leaf && f.value.Kind() == reflect.Struct {
			d.mapping(n, f.value, path)
			return
		}
		d.scalar(n, f, path)
	}
	d.note(path, d.origin(n))
}

// scalar reads one word. Nothing after the colon is the empty word.
func (d *decoder) scalar(n *yaml.Node, f field, path string) {
	if n.Kind != yaml.ScalarNode {
		d.fault(n, path, errors.New("want one value here"))
		return
	}
	text := n.Value
	if n.Tag == "!!null" {
		text = ""
	}
	if err := d.set(f, text); err != nil {
		d.fault(n, path, err)
	}
}

// item reads one item of a list of words.
func (d *decoder) item(n *yaml.Node, f field, list *[]string, path string) {
	n = resolve(n)
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		d.fault(n, path, errors.New("want one word after each dash"))
		return
	}
	s, err := d.text(f, n.Value)
	if err != nil {
		d.fault(n, path, err)
		return
	}
	*list = append(*list, s)
}

// binds reads a list of "source:target:options" or of sections.
func (d *decoder) binds(n *yaml.Node, list *[]site.Bind, path string) {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode || n.Tag == "!!null" {
		items = n.Content
	}
	*list = []site.Bind{}
	for _, item := range items {
		item = resolve(item)
		var b site.Bind
		if item.Kind == yaml.MappingNode {
			before := len(d.faults)
			d.mapping(item, reflect.ValueOf(&b).Elem(), path)
			if err := b.Check(); err != nil && before == len(d.faults) {
				d.fault(item, path, err)
			}
		} else {
			d.scalar(item, field{value: reflect.ValueOf(&b).Elem()}, path)
		}
		b.Origin = d.origin(item)
		*list = append(*list, b)
	}
}

// repositories reads the sections of single repositories.
func (d *decoder) repositories(n *yaml.Node, into map[string]*Repository) {
	if n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fault(n, "repositories", errors.New("want a section for each repository, under its name"))
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if err := unpacked.CheckFQRN(key.Value); err != nil {
			d.fault(key, "repositories", err)
			continue
		}
		r := into[key.Value]
		if r == nil {
			r = &Repository{FQRN: key.Value}
			into[key.Value] = r
		}
		d.mapping(n.Content[i+1], reflect.ValueOf(r).Elem(), "repositories."+key.Value)
	}
}
