package shell

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// node is a simple command, an if, or a list of nodes joined by && and ||.
type node interface{}

// simple is assignments followed by a command's words; either may be absent.
type simple struct {
	line    int
	assigns []assign
	args    []word
	lines   []int // of args, for assignments after export
	piped   bool  // part of a pipeline or sent to the background: its status is not known
	negated bool
}

// assign is name=value or name+=value.
type assign struct {
	line   int
	name   string
	append bool
	value  word
}

// branch is if and else: the first condition that holds decides.
type branch struct {
	conditions [][]node
	bodies     [][]node // one more than conditions where there is an else
}

// chain is first op rest[0] op …
type chain struct {
	ops   []string // "&&" or "||" before each node but the first
	nodes []node
}

// parser reads a script into nodes.
type parser struct {
	lex   lexer
	tok   token
	depth int
}

// reserved words that this interpreter does not know the meaning of.
var unsupported = []string{"case", "for", "while", "until", "function", "select", "{", "}", "[[", "time", "coproc"}

func parse(src string) ([]node, int, error) {
	p := &parser{lex: lexer{src: src, line: 1}}
	if err := p.advance(); err != nil {
		return nil, max(p.tok.line, 1), err
	}
	nodes, err := p.list()
	if err == nil && (p.tok.isWord() || p.tok.op != "") {
		err = fmt.Errorf("unexpected %q", p.tok.text())
	}
	return nodes, max(p.tok.line, 1), err
}

func (t token) text() string {
	if !t.isWord() {
		return t.op
	}
	return t.bare()
}

func (p *parser) advance() (err error) {
	line := p.tok.line
	p.tok, err = p.lex.next()
	if err != nil {
		p.tok.line = max(line, p.tok.line)
	}
	return err
}

// list reads commands up to one of the reserved words stop or an operator that
// ends a list.
func (p *parser) list(stop ...string) ([]node, error) {
	var nodes []node
	for {
		for p.tok.op == "\n" || p.tok.op == ";" {
			if err := p.advance(); err != nil {
				return nodes, err
			}
		}
		if !p.tok.isWord() || slices.Contains(stop, p.tok.bare()) && p.tok.bare() != "" {
			return nodes, nil
		}
		n, err := p.chain()
		if err != nil {
			return nodes, err
		}
		nodes = append(nodes, n)
	}
}

// chain reads commands joined by && and ||.
func (p *parser) chain() (node, error) {
	first, err := p.pipeline()
	if err != nil || p.tok.op != "&&" && p.tok.op != "||" {
		return first, err
	}
	c := chain{nodes: []node{first}}
	for p.tok.op == "&&" || p.tok.op == "||" {
		c.ops = append(c.ops, p.tok.op)
		if err := p.advance(); err != nil {
			return nil, err
		}
		for p.tok.op == "\n" {
			if err := p.advance(); err != nil {
				return nil, err
			}
		}
		n, err := p.pipeline()
		if err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, n)
	}
	return c, nil
}

// pipeline reads a command; of a real pipeline only the first one is kept, as
// none of them is run.
func (p *parser) pipeline() (node, error) {
	n, err := p.command()
	for err == nil && (p.tok.op == "|" || p.tok.op == "&") {
		s, ok := n.(simple)
		if !ok {
			return nil, fmt.Errorf("%q after fi is not understood", p.tok.op)
		}
		s.piped = true
		n = s
		more := p.tok.op == "|"
		if err = p.advance(); err == nil && more {
			_, err = p.command()
		}
		if !more {
			break
		}
	}
	return n, err
}

func (p *parser) command() (node, error) {
	if !p.tok.isWord() {
		if p.tok.op == "" {
			return nil, errors.New("the file ends too early")
		}
		return nil, fmt.Errorf("%q is not understood here", strings.TrimSpace(p.tok.op+" "))
	}
	if slices.Contains(unsupported, p.tok.bare()) && p.tok.bare() != "" {
		return nil, fmt.Errorf("%q is not understood; only assignments, if, test, && and || are", p.tok.bare())
	}
	switch p.tok.bare() {
	case "if":
		return p.branch()
	case "then", "elif", "else", "fi", "do", "done", "esac":
		return nil, fmt.Errorf("unexpected %q", p.tok.bare())
	}
	return p.simple()
}

func (p *parser) branch() (node, error) {
	if p.depth++; p.depth > maxNesting {
		return nil, errors.New("if is nested too deeply")
	}
	defer func() { p.depth-- }()
	var b branch
	for p.tok.bare() == "if" || p.tok.bare() == "elif" {
		condition, err := p.section("then")
		if err != nil {
			return nil, err
		}
		if p.tok.bare() != "then" || len(condition) == 0 {
			return nil, errors.New("if without a condition and then")
		}
		body, err := p.section("elif", "else", "fi")
		if err != nil {
			return nil, err
		}
		b.conditions, b.bodies = append(b.conditions, condition), append(b.bodies, body)
	}
	if p.tok.bare() == "else" {
		body, err := p.section("fi")
		if err != nil {
			return nil, err
		}
		b.bodies = append(b.bodies, body)
	}
	if p.tok.bare() != "fi" {
		return nil, errors.New("if without fi")
	}
	return b, p.advance()
}

// section is a list after a reserved word.
func (p *parser) section(stop ...string) ([]node, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	return p.list(stop...)
}

func (p *parser) simple() (node, error) {
	s := simple{line: p.tok.line}
	for {
		switch {
		case p.tok.isWord():
			if err := p.addWord(&s); err != nil {
				return nil, err
			}
		case p.tok.op == "<<":
			return nil, errors.New("a here document is not understood")
		case strings.ContainsAny(p.tok.op, "<>"): // a redirection: nothing is run, so nothing is redirected
			if n := len(s.args); n > 0 && slices.Contains([]string{"0", "1", "2"}, (token{word: s.args[n-1]}).bare()) {
				s.args, s.lines = s.args[:n-1], s.lines[:n-1]
			}
			if err := p.advance(); err != nil {
				return nil, err
			}
			if !p.tok.isWord() {
				return nil, errors.New("a redirection without a file")
			}
		case p.tok.op == "(":
			return nil, errors.New("functions and subshells are not understood")
		default:
			return s, nil
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
}

func (p *parser) addWord(s *simple) error {
	if p.tok.bare() == "!" && len(s.args)+len(s.assigns) == 0 {
		s.negated = !s.negated
		return nil
	}
	if a, ok := assignment(p.tok.word, p.tok.line); ok && len(s.args) == 0 {
		s.assigns = append(s.assigns, a)
		return nil
	}
	s.args, s.lines = append(s.args, p.tok.word), append(s.lines, p.tok.line)
	return nil
}

// assignment tells whether a word has the form name=value.
func assignment(w word, line int) (assign, bool) {
	if len(w) == 0 || w[0].kind != literal || w[0].quoted {
		return assign{}, false
	}
	name := leadingName(w[0].text)
	rest := w[0].text[len(name):]
	a := assign{line: line, name: name}
	if a.append = strings.HasPrefix(rest, "+="); a.append {
		rest = rest[1:]
	}
	if name == "" || !strings.HasPrefix(rest, "=") {
		return a, false
	}
	a.value = append(word{{text: rest[1:]}}, w[1:]...)
	return a, true
}
