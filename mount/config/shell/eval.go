package shell

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// status is how a command ended: what a condition asks for.
type status uint8

const (
	yes status = iota
	no
	unsure
)

func of(holds bool) status {
	if holds {
		return yes
	}
	return no
}

func (s status) not() status {
	switch s {
	case yes:
		return no
	case no:
		return yes
	}
	return unsure
}

// errReturn ends a script early: return or exit was met.
var errReturn = errors.New("return")

// Run interprets one script. A script that is not there gives an error that is
// fs.ErrNotExist; any other fault is an *Error.
func (in *Interpreter) Run(file string) error {
	src, err := in.ReadFile(file)
	if err != nil {
		return err
	}
	if len(src) > maxScript {
		return &Error{Origin{File: file}, fmt.Errorf("more than %d bytes", maxScript)}
	}
	nodes, line, err := parse(string(src))
	if err != nil {
		return &Error{Origin{file, line}, err}
	}
	saved := in.dir
	in.dir = filepath.Dir(file)
	in.depth++
	in.runs++
	defer func() { in.dir = saved; in.depth-- }()
	s := script{in: in, file: file}
	if _, err := s.list(nodes); err != nil && !errors.Is(err, errReturn) {
		return err
	}
	return nil
}

// script is a file being interpreted.
type script struct {
	in   *Interpreter
	file string
}

func (s *script) warn(line int, format string, args ...any) {
	s.in.Warnings = append(s.in.Warnings, Origin{s.file, line}.String()+": "+fmt.Sprintf(format, args...))
}

func (s *script) fail(line int, format string, args ...any) error {
	return &Error{Origin{s.file, line}, fmt.Errorf(format, args...)}
}

func (s *script) list(nodes []node) (status, error) {
	last := yes
	for _, n := range nodes {
		var err error
		if last, err = s.node(n); err != nil {
			return last, err
		}
	}
	return last, nil
}

func (s *script) node(n node) (status, error) {
	switch n := n.(type) {
	case branch:
		return s.branch(n)
	case chain:
		return s.chain(n)
	}
	return s.simple(n.(simple))
}

func (s *script) chain(c chain) (status, error) {
	last, err := s.node(c.nodes[0])
	for i, n := range c.nodes[1:] {
		if err != nil {
			return last, err
		}
		switch {
		case last == unsure:
			s.obscure([]node{n}, "the condition before it is not known here")
		case (last == yes) == (c.ops[i] == "&&"):
			last, err = s.node(n)
		}
	}
	return last, err
}

func (s *script) branch(b branch) (status, error) {
	for i, condition := range b.conditions {
		holds, err := s.list(condition)
		if err != nil {
			return holds, err
		}
		switch holds {
		case yes:
			return s.list(b.bodies[i])
		case unsure:
			// Any of the bodies from here on may be the one.
			for _, body := range b.bodies[i:] {
				s.obscure(body, "it depends on a condition that is not known here")
			}
			return unsure, nil
		}
	}
	if len(b.bodies) > len(b.conditions) {
		return s.list(b.bodies[len(b.conditions)])
	}
	return yes, nil
}

// obscure makes all variables unknown that the nodes might assign.
func (s *script) obscure(nodes []node, why string) {
	for _, n := range nodes {
		switch n := n.(type) {
		case branch:
			for _, list := range append(n.conditions[:len(n.conditions):len(n.conditions)], n.bodies...) {
				s.obscure(list, why)
			}
		case chain:
			s.obscure(n.nodes, why)
		case simple:
			for _, a := range n.assigns {
				s.set(a.name, Var{Unknown: why, Origin: Origin{s.file, a.line}})
			}
			for i, w := range n.args {
				if a, ok := assignment(w, n.lines[i]); ok {
					s.set(a.name, Var{Unknown: why, Origin: Origin{s.file, a.line}})
				}
			}
		}
	}
}

func (s *script) simple(c simple) (status, error) {
	if len(c.args) == 0 {
		for _, a := range c.assigns {
			if err := s.assign(a); err != nil {
				return no, err
			}
		}
		return yes, nil
	}
	result, err := s.command(c)
	if c.piped {
		result = unsure
	}
	if c.negated {
		result = result.not()
	}
	return result, err
}

func (s *script) assign(a assign) error {
	v := s.expand(a.value, a.line)
	if a.append {
		old, _ := s.get(a.name)
		v.Value = old.Value + v.Value
		if v.Unknown == "" {
			v.Unknown = old.Unknown
		}
	}
	if len(v.Value) > maxValue {
		return s.fail(a.line, "the value of %s has more than %d bytes", a.name, maxValue)
	}
	s.set(a.name, v)
	return nil
}

func (s *script) set(name string, v Var) {
	if s.in.Assign != nil && !s.in.Assign(name, &v) {
		return
	}
	s.in.Vars[name] = v
}

func (s *script) unset(name string) {
	if s.in.gone == nil {
		s.in.gone = make(map[string]bool)
	}
	delete(s.in.Vars, name)
	s.in.gone[name] = true
}

// get is a variable's value; false if it is not set.
func (s *script) get(name string) (Var, bool) {
	if v, ok := s.in.Vars[name]; ok {
		return v, true
	}
	if s.in.Lookup == nil || s.in.gone[name] {
		return Var{}, false
	}
	value, ok := s.in.Lookup(name)
	if !ok {
		return Var{}, false
	}
	return Var{Value: value, Origin: Origin{File: "environment"}}, true
}

// source runs another file, as "." does.
func (s *script) source(file string, line int) (status, error) {
	if !filepath.IsAbs(file) {
		file = filepath.Join(s.in.dir, file)
	}
	if s.in.depth > maxSources || s.in.runs > maxRuns {
		return no, s.fail(line, "files source each other too deeply")
	}
	err := s.in.Run(file)
	var fault *Error
	if err != nil && !errors.As(err, &fault) {
		s.warn(line, "%s is not read: %v", file, err)
		return no, nil
	}
	return of(err == nil), err
}

// blanks are where an unquoted expansion is cut into words.
const blanks = " \t\n"

// fields expands a word of a command into the words it stands for; the second
// result says why the outcome is not known, if it is not.
func (s *script) fields(w word, line int) (out []string, why string) {
	var b strings.Builder
	started := false
	for _, p := range w {
		v := s.part(p, line)
		if b.Len()+len(v.Value) > 2*maxValue {
			v = Var{Unknown: "it is too long"}
		}
		if v.Unknown != "" && why == "" {
			why = v.Unknown
		}
		if p.quoted || p.kind == literal {
			b.WriteString(v.Value)
			started = true
			continue
		}
		for i := range len(v.Value) {
			if strings.IndexByte(blanks, v.Value[i]) < 0 {
				b.WriteByte(v.Value[i])
				started = true
			} else if started {
				out = append(out, b.String())
				b.Reset()
				started = false
			}
		}
	}
	if started {
		out = append(out, b.String())
	}
	return out, why
}

// expand evaluates a word where it is not cut, as in an assignment.
func (s *script) expand(w word, line int) Var {
	v := Var{Origin: Origin{s.file, line}}
	var b strings.Builder
	for _, p := range w {
		piece := s.part(p, line)
		if b.Len()+len(piece.Value) > 2*maxValue {
			piece = Var{Unknown: "it is too long"}
		}
		b.WriteString(piece.Value)
		if piece.Unknown != "" && v.Unknown == "" {
			v.Unknown = piece.Unknown
		}
	}
	v.Value = b.String()
	return v
}

func (s *script) part(p part, line int) Var {
	switch p.kind {
	case literal:
		return Var{Value: p.text}
	case unknown:
		return Var{Unknown: p.text + " is not known here: nothing is executed"}
	case arithmetic:
		return s.calculate(p.text)
	}
	v, set := s.get(p.text)
	// With a colon, an empty variable counts as an absent one. What is not known
	// might be either.
	absent := !set || strings.HasPrefix(p.op, ":") && v.Value == ""
	switch op := strings.TrimPrefix(p.op, ":"); {
	case op == "" || v.Unknown != "":
		return v
	case op == "#":
		return Var{Value: fmt.Sprint(len(v.Value))}
	case op == "+":
		if absent {
			return Var{}
		}
		return s.expand(p.arg, line)
	case !absent:
		return v
	case op == "?":
		return Var{Unknown: fmt.Sprintf("%s is not set", p.text)}
	default:
		v = s.expand(p.arg, line)
		if op == "=" {
			s.set(p.text, v)
		}
		return v
	}
}

// calculate evaluates $((expression)); variables that are not set count as 0.
func (s *script) calculate(expression string) Var {
	n, err := calculate(expression, func(name string) (string, bool) {
		v, _ := s.get(name)
		return v.Value, v.Unknown == ""
	})
	if err != nil {
		return Var{Unknown: "the value of $((" + expression + ")) is not known here"}
	}
	return Var{Value: strconv.FormatInt(n, 10)}
}
