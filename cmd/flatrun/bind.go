package main

import (
	"encoding/csv"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/flatrun/flatrun/runtime"
)

// userBind is a bind of --bind or --mount.
type userBind struct {
	runtime.Bind
	noNested bool // not repeated by containers started inside
}

const noImageBinds = "binds from image files are not supported; bind a directory"

// parseBinds reads the values of --bind and --mount.
func (o *options) parseBinds() ([]userBind, error) {
	var binds []userBind
	for _, text := range o.Bind {
		for _, spec := range splitBinds(text) {
			b, err := parseBind(spec)
			if err != nil {
				return nil, fmt.Errorf("while parsing bind path: %w", err)
			}
			binds = append(binds, b)
		}
	}
	for _, text := range o.Mount {
		list, err := parseMount(text)
		if err != nil {
			return nil, fmt.Errorf("while parsing mount %q: %w", text, err)
		}
		binds = append(binds, list...)
	}
	return binds, nil
}

// splitBinds cuts a list src[:dest[:opts]],… at its commas. One that is followed
// by an option belongs to the options of a bind that has a destination; one after
// a backslash belongs to the path.
func splitBinds(text string) []string {
	var specs []string
	var current strings.Builder
	flush := func() {
		if s := strings.TrimSpace(current.String()); s != "" {
			specs = append(specs, s)
		}
		current.Reset()
	}
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text) && text[i+1] == ',':
			current.WriteByte(',')
			i++
		case text[i] == ',' && len(splitColons(current.String())) == 3 && startsOption(text[i+1:]):
			current.WriteByte(',')
		case text[i] == ',':
			flush()
		default:
			current.WriteByte(text[i])
		}
	}
	flush()
	return specs
}

// startsOption reports whether the next field of a list is a bind option.
func startsOption(rest string) bool {
	field, _, _ := strings.Cut(rest, ",")
	field = strings.TrimSpace(field)
	return field == "ro" || field == "rw" || strings.HasPrefix(field, "image-src=") || strings.HasPrefix(field, "id=")
}

// splitColons cuts at colons that have no backslash before them.
func splitColons(s string) []string {
	var fields []string
	start := 0
	for i := 0; i < len(s); i++ {
		if s[i] == ':' && (i == 0 || s[i-1] != '\\') {
			fields = append(fields, s[start:i])
			start = i + 1
		}
	}
	return append(fields, s[start:])
}

// parseBind reads src[:dest[:opts]].
func parseBind(spec string) (userBind, error) {
	fields := splitColons(spec)
	if len(fields) > 3 {
		return userBind{}, fmt.Errorf("wrong bind syntax: %s: should be src[:dest[:opts]]", spec)
	}
	for i := range fields {
		fields[i] = strings.ReplaceAll(fields[i], `\:`, ":")
	}
	b := userBind{Bind: runtime.Bind{Source: fields[0], Origin: "--bind"}}
	if b.Source == "" {
		return b, fmt.Errorf("empty bind source for bind path %q", spec)
	}
	if len(fields) > 1 {
		b.Target = fields[1]
	}
	if len(fields) > 2 {
		for option := range strings.SplitSeq(fields[2], ",") {
			if err := b.option(option); err != nil {
				return b, err
			}
		}
	}
	return b, b.finish()
}

// option takes an option of --bind.
func (b *userBind) option(option string) error {
	switch name, _, _ := strings.Cut(option, "="); name {
	case "ro":
		b.ReadOnly = true
	case "rw": // the default; ro beside it is stronger
	case "image-src", "id":
		return fmt.Errorf("%s: %s", option, noImageBinds)
	default:
		return fmt.Errorf("%s is not a valid bind option", option)
	}
	return nil
}

// finish makes the source absolute, as the caller's directory is not the container's.
func (b *userBind) finish() error {
	source, err := filepath.Abs(b.Source)
	if err != nil {
		return fmt.Errorf("bind %s: %w", b.Source, err)
	}
	b.Source = source
	if b.Target == "" {
		b.Target = source
	}
	if !strings.HasPrefix(b.Target, "/") {
		return fmt.Errorf("bind destination %s must be an absolute path", b.Target)
	}
	return nil
}

// parseMount reads CSV lines of key=value fields, one bind a line.
func parseMount(text string) ([]userBind, error) {
	r := csv.NewReader(strings.NewReader(text))
	r.FieldsPerRecord = -1
	lines, err := r.ReadAll()
	if err != nil {
		return nil, err
	}
	var binds []userBind
	for _, fields := range lines {
		b := userBind{Bind: runtime.Bind{Origin: "--mount"}}
		for _, field := range fields {
			key, value, _ := strings.Cut(field, "=")
			if err := b.mountField(key, value); err != nil {
				return nil, err
			}
		}
		if b.Source == "" || b.Target == "" {
			return nil, fmt.Errorf("mounts must specify a source and a destination")
		}
		if err := b.finish(); err != nil {
			return nil, err
		}
		binds = append(binds, b)
	}
	return binds, nil
}

// mountField takes one field of --mount.
func (b *userBind) mountField(key, value string) error {
	switch key {
	case "type":
		if value != "bind" {
			return fmt.Errorf("unsupported mount type %q, only 'bind' is supported", value)
		}
	case "source", "src":
		if b.Source = value; value == "" {
			return fmt.Errorf("mount source cannot be empty")
		}
	case "destination", "dst", "target":
		if b.Target = value; value == "" {
			return fmt.Errorf("mount destination cannot be empty")
		}
	case "ro", "readonly":
		b.ReadOnly = value != "false" && value != "0"
	case "nonested":
		b.noNested = true
	case "image-src", "id":
		return fmt.Errorf("%s: %s", key, noImageBinds)
	case "bind-propagation":
		return fmt.Errorf("bind-propagation is not supported for single mounts: later mounts of the host always appear inside")
	default:
		return fmt.Errorf("invalid key %q in mount specification", key)
	}
	return nil
}

// distinctBinds leaves out binds to a destination that an earlier one has: flags come before variables.
func (c *container) distinctBinds() []userBind {
	taken := make(map[string]bool, len(c.binds))
	var kept []userBind
	for _, b := range c.binds {
		if target := filepath.Clean(b.Target); taken[target] {
			c.log.warnf("While bind mounting '%s:%s': destination is already in the mount point list", b.Source, b.Target)
			continue
		} else {
			taken[target] = true
		}
		kept = append(kept, b)
	}
	return kept
}

// depth is the number of directories that lead to a path.
func depth(path string) int { return strings.Count(strings.TrimSuffix(filepath.Clean(path), "/"), "/") }

// nestedBinds is the list of destinations that a runtime started inside binds again.
func nestedBinds(binds []userBind) string {
	var targets []string
	for _, b := range binds {
		if !b.noNested {
			targets = append(targets, b.Target)
		}
	}
	return strings.Join(targets, ",")
}
