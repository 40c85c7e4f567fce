package main

import (
	"strings"

	"github.com/spf13/pflag"
)

// flag is one row of the flag table: it drives parsing, the environment twins,
// the help text and the man pages.
type flag struct {
	name, short string
	value       any      // *bool, *string, *[]string (comma list), *texts (one value each), *pairs, *number
	twins       []string // environment names without their prefix
	appends     bool     // a twin adds to the command line instead of standing back
	arg         string   // what the value is called in the help
	help        string
	hidden      bool
	refuse      string // why the flag cannot work here and what to do instead
}

// texts collects one value per use, commas and all.
type texts []string

// pairs collects K=V settings in the order given: the order matters, as a value
// may refer to a variable set before it.
type pairs [][2]string

// number is an integer flag that knows whether it was given.
type number struct{ text string }

// twinPrefixes in order of strength. The older names keep working because ten
// years of job scripts use them.
var twinPrefixes = [...]string{"FLATRUN_", "APPTAINER_", "SINGULARITY_"}

// define adds the flag to a set.
func (f flag) define(set *pflag.FlagSet) {
	switch v := f.value.(type) {
	case *bool:
		set.BoolVarP(v, f.name, f.short, *v, f.help)
	case *string:
		set.StringVarP(v, f.name, f.short, *v, f.help)
	case *int:
		set.IntVarP(v, f.name, f.short, *v, f.help)
	case *[]string:
		set.StringSliceVarP(v, f.name, f.short, *v, f.help)
	case pflag.Value:
		set.VarP(v, f.name, f.short, f.help)
	}
	if f.hidden {
		set.Lookup(f.name).Hidden = true
	}
}

func (t *texts) Set(s string) error { *t = append(*t, s); return nil }
func (t *texts) String() string     { return strings.Join(*t, " ") }
func (t *texts) Type() string       { return "texts" }

// Set takes K=V[,K=V…]; a comma belongs to the value unless what follows it
// looks like a setting, so that PATH lists and option strings with commas pass.
func (p *pairs) Set(s string) error {
	for _, field := range splitPairs(s) {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return errMissingEquals(field)
		}
		p.put(key, value)
	}
	return nil
}

func (p *pairs) put(key, value string) {
	for i := range *p {
		if (*p)[i][0] == key {
			*p = append((*p)[:i], (*p)[i+1:]...)
			break
		}
	}
	*p = append(*p, [2]string{key, value})
}

func (p *pairs) String() string { return "" }
func (p *pairs) Type() string   { return "pairs" }

type errMissingEquals string

func (e errMissingEquals) Error() string { return string(e) + " must be formatted as key=value" }

// splitPairs cuts a list of settings at its commas. Only one that is followed by
// a variable's name and an equals sign ends a value; with a single equals sign in
// the whole text none does. Quotes around a field, as in a CSV line, are taken off.
func splitPairs(s string) []string {
	if strings.Count(s, "=") <= 1 {
		return []string{unquotePair(s)}
	}
	var fields []string
	start, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"' && (i == start || quoted):
			quoted = !quoted
		case s[i] == ',' && !quoted && startsPair(s[i+1:]):
			fields = append(fields, unquotePair(s[start:i]))
			start = i + 1
		}
	}
	return append(fields, unquotePair(s[start:]))
}

func unquotePair(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return strings.ReplaceAll(s[1:len(s)-1], `""`, `"`)
	}
	return s
}

// startsPair reports whether s begins with NAME= (quoted or not).
func startsPair(s string) bool {
	s = strings.TrimPrefix(s, `"`)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '=':
			return i > 0
		case c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9'):
			return false
		}
	}
	return false
}

func (n *number) Set(s string) error { n.text = s; return nil }
func (n *number) String() string     { return n.text }
func (n *number) Type() string       { return "number" }

// applyTwins sets flags from the environment. A twin stands back when the flag
// is on the command line, except that mounts add up.
func (p *program) applyTwins(set *pflag.FlagSet, table []flag) error {
	if len(p.twins) == 0 {
		return nil
	}
	for _, f := range table {
		for _, key := range f.twins {
			value, ok := p.lookupTwin(key)
			if !ok || strings.TrimSpace(value) == "" {
				continue
			}
			given := set.Lookup(f.name)
			if given.Changed && !f.appends {
				continue
			}
			if _, list := f.value.(*[]string); list {
				value = trimFields(value)
			}
			if err := set.Set(f.name, value); err != nil {
				return twinError{key, value, err}
			}
		}
	}
	return nil
}

type twinError struct {
	key, value string
	err        error
}

func (e twinError) Error() string {
	return "While parsing environment variables: that for " + e.key + " has value " + e.value + ": " + e.err.Error()
}
func (e twinError) Unwrap() error { return e.err }

// twin returns the value of an environment twin, or "".
func (p *program) twin(key string) string {
	value, _ := p.lookupTwin(key)
	return value
}

// lookupTwin finds KEY under the strongest prefix that sets it, and tells the
// user once which name to prefer.
func (p *program) lookupTwin(key string) (string, bool) {
	const legacy = "SINGULARITY_"
	for _, prefix := range twinPrefixes {
		value, ok := p.twins[prefix+key]
		if !ok {
			continue
		}
		if prefix == legacy {
			p.log.infof("Environment variable %s is set, but %s is preferred", prefix+key, "APPTAINER_"+key)
		} else if old, ok := p.twins[legacy+key]; ok && old != value {
			p.log.warnf("%s and %s have different values, using the latter", legacy+key, prefix+key)
		}
		return value, true
	}
	return "", false
}

// trimFields takes the blanks off the fields of a comma list.
func trimFields(s string) string {
	fields := strings.Split(s, ",")
	for i := range fields {
		fields[i] = strings.TrimSpace(fields[i])
	}
	return strings.Join(fields, ",")
}
