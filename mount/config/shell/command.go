package shell

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// command carries out a builtin. Any other command is passed over, and how it
// would have ended is not known.
func (s *script) command(c simple) (status, error) {
	name := (token{word: c.args[0]}).bare()
	switch name {
	case "export", "readonly", "declare", "typeset", "local":
		return yes, s.declare(c)
	case "eval":
		s.obscure([]node{c}, "eval is not carried out")
		return unsure, nil
	case "return", "exit":
		return yes, errReturn
	}
	args, why := s.arguments(c) // also for the sake of ${name:=value}
	switch name {
	case ":", "true", "echo", "printf", "set", "umask", "shopt", "ulimit":
		return yes, nil
	case "false":
		return no, nil
	}
	if why != "" {
		return unsure, nil
	}
	switch name {
	case "unset":
		for _, name := range args {
			s.unset(name)
		}
		return yes, nil
	case "[", "test":
		return s.test(c, args)
	case ".", "source":
		if len(args) == 1 {
			return s.source(args[0], c.line)
		}
	case "grep", "egrep":
		return s.grep(c, args), nil
	}
	if name == "" {
		name = "a command"
	}
	s.warn(c.line, "%s is not run: nothing is executed", name)
	return unsure, nil
}

// arguments expands the words after the command's name.
func (s *script) arguments(c simple) (args []string, why string) {
	for _, w := range c.args[1:] {
		more, unknown := s.fields(w, c.line)
		if unknown != "" && why == "" {
			why = unknown
		}
		args = append(args, more...)
	}
	return args, why
}

// declare carries out the assignments after export and its like.
func (s *script) declare(c simple) error {
	for i, w := range c.args[1:] {
		if a, ok := assignment(w, c.lines[i+1]); ok {
			if err := s.assign(a); err != nil {
				return err
			}
		}
	}
	return nil
}

// test is the [ command.
func (s *script) test(c simple, args []string) (status, error) {
	if (token{word: c.args[0]}).bare() == "[" {
		if len(args) == 0 || args[len(args)-1] != "]" {
			return no, s.fail(c.line, "[ without ]")
		}
		args = args[:len(args)-1]
	}
	// -o binds weaker than -a.
	result := no
	for _, any := range split(args, "-o") {
		all := yes
		for _, term := range split(any, "-a") {
			holds, ok := s.term(term)
			if !ok {
				return no, s.fail(c.line, "[ %s ] is not understood", strings.Join(term, " "))
			}
			if !holds {
				all = no
			}
		}
		if all == yes {
			result = yes
		}
	}
	return result, nil
}

// split cuts args at sep, which joins terms only between two others.
func split(args []string, sep string) [][]string {
	var out [][]string
	start := 0
	for i := 1; i+1 < len(args); i++ {
		if args[i] == sep && i > start {
			out = append(out, args[start:i])
			start = i + 1
		}
	}
	return append(out, args[start:])
}

// term evaluates one term of a test; ok is false if it is malformed.
func (s *script) term(t []string) (holds, ok bool) {
	switch {
	case len(t) == 0:
		return false, true
	case len(t) == 1:
		return t[0] != "", true
	case len(t) == 3 && slices.Contains(binary, t[1]):
		return compare(t[0], t[1], t[2])
	case t[0] == "!":
		holds, ok = s.term(t[1:])
		return !holds, ok
	case len(t) == 2:
		return s.unary(t[0], t[1])
	}
	return false, false
}

var binary = []string{"=", "==", "!=", "<", ">", "-eq", "-ne", "-lt", "-le", "-gt", "-ge"}

func compare(a, op, b string) (holds, ok bool) {
	switch op {
	case "=", "==":
		return a == b, true
	case "!=":
		return a != b, true
	case "<":
		return a < b, true
	case ">":
		return a > b, true
	}
	x, err1 := strconv.ParseInt(strings.TrimSpace(a), 10, 64)
	y, err2 := strconv.ParseInt(strings.TrimSpace(b), 10, 64)
	if err1 != nil || err2 != nil {
		return false, true // bash complains and goes on as if false
	}
	switch op {
	case "-eq":
		return x == y, true
	case "-ne":
		return x != y, true
	case "-lt":
		return x < y, true
	case "-le":
		return x <= y, true
	case "-gt":
		return x > y, true
	}
	return x >= y, true
}

func (s *script) unary(op, arg string) (holds, ok bool) {
	switch op {
	case "-z":
		return arg == "", true
	case "-n":
		return arg != "", true
	}
	info, err := s.in.Stat(s.path(arg))
	if arg == "" {
		err = fs.ErrNotExist
	}
	switch op {
	case "-e", "-a":
		return err == nil, true
	case "-f":
		return err == nil && info.Mode().IsRegular(), true
	case "-d":
		return err == nil && info.IsDir(), true
	case "-s":
		return err == nil && info.Size() > 0, true
	case "-r":
		if err == nil && !info.IsDir() {
			_, err = s.in.ReadFile(s.path(arg))
		}
		return err == nil, true
	case "-x":
		return err == nil && info.Mode()&0o111 != 0, true
	}
	return false, false
}

func (s *script) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(s.in.dir, p)
}

// grep -q PATTERN FILE is in the files that the Debian package installs. Plain
// text joined by \| is understood as pattern.
func (s *script) grep(c simple, args []string) status {
	quiet := slices.Contains(args, "-q") || slices.Contains(args, "-qs") || slices.Contains(args, "-sq")
	args = slices.DeleteFunc(args, func(a string) bool { return len(a) > 1 && a[0] == '-' })
	if !quiet || len(args) != 2 {
		s.warn(c.line, "grep is not run: nothing is executed")
		return unsure
	}
	words := strings.Split(args[0], `\|`)
	for _, w := range words {
		if strings.ContainsAny(w, `\[*^$`) {
			s.warn(c.line, "grep %q is not understood", args[0])
			return unsure
		}
	}
	text, err := s.in.ReadFile(s.path(args[1]))
	if err != nil {
		return no
	}
	return of(slices.ContainsFunc(words, func(w string) bool { return strings.Contains(string(text), w) }))
}
