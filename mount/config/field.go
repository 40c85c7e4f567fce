package config

import (
	"encoding"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// field is a settable value of a struct: one key of the configuration. These
// struct tags steer how its text is read:
//
//	json    the key's name
//	sep     what separates the items of a list that is written as one text
//	zero    what to read in place of a zero (where the zero value means "default")
//	expand  "env": $NAME and ${NAME} are replaced by environment variables
//	path    "yes": relative paths begin at the file's directory
type field struct {
	value reflect.Value
	tag   reflect.StructTag
}

// fieldOf finds the field for a key of struct v; embedded structs belong to it.
func fieldOf(v reflect.Value, key string) (field, bool) {
	for _, f := range reflect.VisibleFields(v.Type()) {
		if name := keyName(f); name == key && name != "" {
			return field{v.FieldByIndex(f.Index), f.Tag}, true
		}
	}
	return field{}, false
}

// keyName is the key of a struct's field, or "" where it has none.
func keyName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return strings.TrimPrefix(name, "-")
}

// keysOf lists the keys of struct v, in the order of the fields.
func keysOf(v reflect.Value) []string {
	var keys []string
	for _, f := range reflect.VisibleFields(v.Type()) {
		if name := keyName(f); name != "" {
			keys = append(keys, name)
		}
	}
	return keys
}

// reader is what turns text into values besides the field's tags.
type reader struct {
	dir string // where relative paths begin; "" keeps them
	env func(string) string
}

// set reads text into the field.
func (r reader) set(f field, text string) error {
	if zero := f.tag.Get("zero"); zero != "" && strings.TrimSpace(text) != "" && strings.Trim(text, "0s \t") == "" {
		text = zero
	}
	switch p := f.value.Addr().Interface().(type) {
	case encoding.TextUnmarshaler:
		return p.UnmarshalText([]byte(text))
	case *time.Duration:
		d, err := parseDuration(text)
		*p = d
		return err
	case *[]string:
		items, err := r.list(f, text)
		*p = items
		return err
	case *string:
		s, err := r.text(f, text)
		*p = s
		return err
	case *bool:
		b, err := parseBool(text)
		*p = b
		return err
	case *int:
		n, err := strconv.Atoi(strings.TrimSpace(text))
		*p = n
		return number(err, text)
	case *int64:
		n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		*p = n
		return number(err, text)
	}
	return fmt.Errorf("%q is one word; want a section", text)
}

func number(err error, text string) error {
	if err != nil {
		return fmt.Errorf("%q is not a whole number", text)
	}
	return nil
}

// list splits text. A list without a separator has one item.
func (r reader) list(f field, text string) ([]string, error) {
	sep := f.tag.Get("sep")
	if sep == "" {
		sep = "\n"
	}
	items := []string{}
	for item := range strings.SplitSeq(text, sep) {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		s, err := r.text(f, item)
		if err != nil {
			return items, err
		}
		items = append(items, s)
	}
	return items, nil
}

// text carries out the tags expand and path.
func (r reader) text(f field, s string) (string, error) {
	if f.tag.Get("expand") == "env" && strings.Contains(s, "$") {
		var err error
		if s, err = expandEnv(s, r.env); err != nil {
			return "", err
		}
	}
	if f.tag.Get("path") == "yes" && s != "" && !filepath.IsAbs(s) && r.dir != "" {
		s = filepath.Join(r.dir, s)
	}
	return s, nil
}

// expandEnv replaces $NAME and ${NAME}. An unset variable is an error: half a
// path is a wrong path.
func expandEnv(s string, env func(string) string) (string, error) {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "$")
		b.WriteString(before)
		if !ok {
			return b.String(), nil
		}
		name := rest[:len(rest)-len(strings.TrimLeft(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789"))]
		s = rest[len(name):]
		if strings.HasPrefix(rest, "{") {
			if name, s, ok = strings.Cut(rest[1:], "}"); !ok {
				return "", fmt.Errorf("${%s is not closed", name)
			}
		}
		value := env(name)
		if name == "" || value == "" {
			return "", fmt.Errorf("$%s is not set in the environment", name)
		}
		b.WriteString(value)
	}
}

// parseDuration reads Go's form ("90s", "5m") and a bare number of seconds, as
// the official files have it.
func parseDuration(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	d, err := time.ParseDuration(s)
	if n, numeric := strconv.ParseInt(s, 10, 64); numeric == nil {
		d, err = time.Duration(n)*time.Second, nil
		if n > int64(1<<63-1)/int64(time.Second) {
			err = strconv.ErrRange
		}
	}
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration; want seconds, or a number with ms, s, m or h", s)
	}
	return d, nil
}

// parseBool reads the words of YAML 1.1 and of the official files.
func parseBool(s string) (bool, error) {
	word := strings.ToLower(strings.TrimSpace(s))
	if slices.Contains([]string{"yes", "on", "true", "1"}, word) {
		return true, nil
	}
	if slices.Contains([]string{"no", "off", "false", "0"}, word) {
		return false, nil
	}
	return false, fmt.Errorf("%q is neither yes nor no", s)
}
