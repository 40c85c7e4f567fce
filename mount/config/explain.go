package config

import (
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Explain writes each value and where it comes from, one per line in three
// columns: key, value, origin.
func (c *Config) Explain(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, file := range c.Files {
		fmt.Fprintf(out, "# read %s\n", file)
	}
	for _, warning := range c.Warnings {
		fmt.Fprintf(out, "# %s\n", warning)
	}
	v := reflect.ValueOf(c).Elem()
	for _, key := range keysOf(v) {
		f, _ := fieldOf(v, key)
		switch key {
		case "repositories":
		case "network": // its defaults are those of each repository
			for _, name := range keysOf(f.value) {
				if inner, _ := fieldOf(f.value, name); !inner.value.IsZero() {
					explain(out, "network."+name, inner.value, c.Origin)
				}
			}
		default:
			explain(out, key, f.value, c.Origin)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Repositories)) {
		r, err := c.Repository(name)
		if err != nil {
			fmt.Fprintf(out, "# %v\n", err)
			continue
		}
		r.explain(out)
	}
	return out.Flush()
}

// Explain writes the repository's values the same way, and after them what the
// official files set.
func (r *Repository) Explain(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	r.explain(out)
	for _, name := range slices.Sorted(maps.Keys(r.Variables)) {
		fmt.Fprintf(out, "%s\t%s\t\n", name, r.Variables[name])
	}
	return out.Flush()
}

func (r *Repository) explain(w io.Writer) {
	for _, warning := range r.Warnings {
		fmt.Fprintf(w, "# %s\n", warning)
	}
	prefix := "repositories." + r.FQRN + "."
	v := reflect.ValueOf(r).Elem()
	for _, key := range keysOf(v) {
		f, _ := fieldOf(v, key)
		// A section has many keys; those that nobody set say nothing.
		if _, set := r.Origins[key]; set || !f.value.IsZero() {
			explain(w, prefix+key, f.value, func(string) string { return r.origin(key) })
		}
	}
}

// explain writes one key, or the keys of a section.
func explain(w io.Writer, key string, v reflect.Value, origin func(key string) string) {
	_, stringer := v.Interface().(fmt.Stringer)
	if v.Kind() == reflect.Struct && !stringer {
		for _, name := range keysOf(v) {
			f, _ := fieldOf(v, name)
			explain(w, key+"."+name, f.value, origin)
		}
		return
	}
	fmt.Fprintf(w, "%s\t%s\t%s\n", key, valueText(v), origin(key))
}

func valueText(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return x.String()
	case string:
		if x == "" {
			return `""`
		}
		return x
	}
	if v.Kind() == reflect.Slice {
		items := make([]string, v.Len())
		for i := range items {
			items[i] = fmt.Sprint(v.Index(i).Interface())
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return fmt.Sprint(v.Interface())
}
