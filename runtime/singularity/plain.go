package singularity

import (
	"bytes"
	"maps"
	"strings"
	"unicode/utf8"

	"mvdan.cc/sh/v3/expand"
)

// Most environment scripts only set variables, and every image that DUCC
// unpacked has the same handful of them. This file runs those without the
// interpreter, whose cold start would be a tenth of a container's. It knows
// assignments, export, unset and if with test -n and -z, one a line; the first
// thing it does not know for certain sends the whole script to the interpreter.
// A fuzz test holds the two against each other.

// plainStmt is one statement.
type plainStmt struct {
	name   string    // NAME=value
	value  plainWord // of it
	assign bool
	export bool
	unset  bool
	opaque bool // a statement that is not understood, which must not be reached

	cond       plainWord // of if: its value is tested
	wantEmpty  bool      // by -z rather than -n
	isIf       bool
	yes, other []plainStmt
}

// plainWord is a value in parts.
type plainWord []plainPart

// plainPart is literal text, or a variable with what stands in for it.
type plainPart struct {
	text, name string
	instead    plainWord // of ${name:-instead}
	defaults   bool
}

// parsePlain understands a script, or not.
func parsePlain(script []byte) ([]plainStmt, bool) {
	if !utf8.Valid(script) || bytes.ContainsAny(script, "`\x00\r") || bytes.Contains(script, []byte("<<")) || bytes.Contains(script, []byte("\\\n")) {
		return nil, false
	}
	p := &plainParser{lines: strings.Split(string(script), "\n")}
	list, end, ok := p.block()
	return list, ok && end == "" && len(p.lines) == 0
}

type plainParser struct{ lines []string }

// block reads statements up to else, fi or the end of the script.
func (p *plainParser) block() (list []plainStmt, end string, ok bool) {
	for len(p.lines) > 0 {
		line := strings.Trim(p.lines[0], " \t")
		p.lines = p.lines[1:]
		switch {
		case line == "" || line[0] == '#':
		case line == "fi" || line == "else":
			return list, line, true
		default:
			more, ok := p.statement(line)
			if !ok {
				return nil, "", false
			}
			list = append(list, more...)
		}
	}
	return list, "", true
}

// statement reads one line, with what belongs to it if it begins an if.
func (p *plainParser) statement(line string) ([]plainStmt, bool) {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "if":
		s, ok := p.ifStatement(strings.TrimLeft(rest, " "))
		return []plainStmt{s}, ok
	case "export", "unset":
		return nameStatements(rest, word == "unset")
	}
	if s, rest, ok := assignment(line); ok && rest == "" {
		return []plainStmt{s}, true
	}
	if opaqueLine(line) {
		return []plainStmt{{opaque: true}}, true
	}
	return nil, false
}

// ifStatement reads "[ -n WORD ]; then" and the blocks below.
func (p *plainParser) ifStatement(head string) (s plainStmt, ok bool) {
	s.isIf = true
	if s.cond, s.wantEmpty, s.opaque, ok = condition(head); !ok {
		return s, false
	}
	var end string
	if s.yes, end, ok = p.block(); !ok || end == "" || len(s.yes) == 0 {
		return s, false
	}
	if end == "else" {
		if s.other, end, ok = p.block(); !ok || end != "fi" || len(s.other) == 0 {
			return s, false
		}
	}
	return s, true
}

// condition reads a test of a double-quoted word. Tests of files are opaque.
func condition(head string) (word plainWord, wantEmpty, opaque, ok bool) {
	body, ok := strings.CutSuffix(head, "; then")
	if !ok {
		return nil, false, false, false
	}
	if inner, bracket := strings.CutPrefix(body, "[ "); bracket {
		if body, ok = strings.CutSuffix(inner, " ]"); !ok {
			return nil, false, false, false
		}
	} else if body, ok = strings.CutPrefix(body, "test "); !ok {
		return nil, false, false, false
	}
	option, quoted, _ := strings.Cut(body, " ")
	switch option {
	case "-n", "-z":
	case "-d", "-f", "-e", "-x", "-r":
		opaque = true
	default:
		return nil, false, false, false
	}
	if !strings.HasPrefix(quoted, `"`) {
		return nil, false, false, false
	}
	word, rest, ok := scanWord(quoted)
	return word, option == "-z", opaque, ok && rest == ""
}

// nameStatements reads the operands of export and unset.
func nameStatements(rest string, unset bool) (list []plainStmt, ok bool) {
	for rest = strings.TrimLeft(rest, " "); rest != ""; rest = strings.TrimLeft(rest, " ") {
		s, after, isAssignment := assignment(rest)
		switch {
		case isAssignment && !unset:
			s.export = true
		case isAssignment:
			return nil, false
		default:
			var name string
			name, after, _ = strings.Cut(rest, " ")
			if !plainName(name) {
				return nil, false
			}
			s = plainStmt{name: name, export: !unset, unset: unset}
			list, rest = append(list, s), after
			continue
		}
		if after != "" && after[0] != ' ' {
			return nil, false
		}
		list, rest = append(list, s), after
	}
	return list, len(list) > 0
}

// assignment reads NAME=WORD.
func assignment(line string) (s plainStmt, rest string, ok bool) {
	name, text, found := strings.Cut(line, "=")
	if !found || !plainName(name) {
		return s, "", false
	}
	s = plainStmt{name: name, assign: true}
	s.value, rest, ok = scanWord(text)
	return s, rest, ok
}

// plainName reports whether a variable is of the ordinary kind.
func plainName(name string) bool {
	switch name {
	case "PWD", "OLDPWD", "IFS", "OPTIND", "UID", "EUID", "GID", "PPID", "LINENO", "RANDOM", "SRANDOM", "SECONDS", "DIRSTACK", "_",
		"REPLY", "EPOCHSECONDS", "EPOCHREALTIME", "BASHPID", "FUNCNAME", "PIPESTATUS", "OPTARG":
		return false
	}
	return validName(name) && !contains(frozen[:], name)
}

// opaqueLine reports whether a line is a command that is not run here but has
// no part in the structure of the script.
func opaqueLine(line string) bool {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "echo", "exit", "return", ".", "source":
		return plainWords(rest)
	}
	return false
}

// plainWords reports whether text is nothing but words.
func plainWords(text string) bool {
	for text = strings.TrimLeft(text, " \t"); text != ""; text = strings.TrimLeft(text, " \t") {
		var ok bool
		if _, text, ok = scanWord(text); !ok {
			return false
		}
	}
	return true
}

// run executes statements; false means that it came to one that is not understood.
func runPlain(list []plainStmt, vars variables) bool {
	for _, s := range list {
		if !s.run(vars) {
			return false
		}
	}
	return true
}

func (s *plainStmt) run(vars variables) bool {
	switch {
	case s.opaque:
		return false
	case s.isIf:
		if (s.cond.value(vars) == "") == s.wantEmpty {
			return runPlain(s.yes, vars)
		}
		return runPlain(s.other, vars)
	case s.unset:
		delete(vars, s.name)
		return true
	case s.assign:
		old := vars[s.name]
		vars[s.name] = expand.Variable{Set: true, Kind: expand.String, Str: s.value.value(vars), Exported: old.Exported || s.export}
		return true
	}
	v, ok := vars[s.name]
	if !ok || !v.Set {
		return false // exported later, if it is set at all
	}
	v.Exported = true
	vars[s.name] = v
	return true
}

// value expands a word.
func (w plainWord) value(vars variables) string {
	if len(w) == 1 && w[0].name == "" {
		return w[0].text
	}
	var b strings.Builder
	for _, part := range w {
		value := part.text
		if part.name != "" {
			value = vars.get(part.name)
			if value == "" && part.defaults {
				value = part.instead.value(vars)
			}
		}
		b.WriteString(value)
	}
	return b.String()
}

// plain runs a script without the interpreter, if it can.
func (s *shell) plain(script []byte) bool {
	if s.runner != nil {
		return false // it has state of its own
	}
	list, ok := parsePlain(script)
	if !ok {
		return false
	}
	vars := maps.Clone(s.vars)
	if !runPlain(list, vars) {
		return false
	}
	clear(s.vars) // the map is known to others
	maps.Copy(s.vars, vars)
	return true
}
