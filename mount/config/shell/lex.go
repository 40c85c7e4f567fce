package shell

import (
	"errors"
	"fmt"
	"strings"
)

// part is a piece of a word.
type part struct {
	kind   partKind
	text   string // literal text, or the parameter's name
	quoted bool   // not subject to splitting
	op     string // of an expansion: "", "-", ":-", "+", ":+", "=", ":=", "?" and ":?", "#" for the length
	arg    word   // its operand
}

type partKind uint8

const (
	literal    partKind = iota
	expansion           // of the parameter text
	arithmetic          // text is the inside of $((…))
	unknown             // something that is not evaluated; text says what
)

type word []part

// token is a word or an operator. The end of the script is the operator "".
type token struct {
	op   string
	word word
	line int
}

func (t token) isWord() bool { return t.word != nil }

// bare is the token's text if it is one unquoted literal: a reserved word or a
// command's name is looked for there.
func (t token) bare() string {
	if len(t.word) == 1 && t.word[0].kind == literal && !t.word[0].quoted {
		return t.word[0].text
	}
	return ""
}

var errQuote = errors.New("a quote is not closed")

// lexer cuts a script into tokens.
type lexer struct {
	src   string
	pos   int
	line  int
	depth int // of ${…${…}…}
}

// operators in the order of matching. Redirections are told by the parser.
var operators = []string{"&&", "||", ";;", "<<", ">>", ">&", "<&", "&>", ";", "\n", "|", "&", "(", ")", "<", ">"}

func (l *lexer) next() (token, error) {
	l.blank()
	start := l.line
	if l.pos >= len(l.src) {
		return token{line: start}, nil
	}
	for _, op := range operators {
		if strings.HasPrefix(l.src[l.pos:], op) {
			l.pos += len(op)
			if op == "\n" {
				l.line++
			}
			return token{op: op, line: start}, nil
		}
	}
	w, err := l.word("")
	return token{word: w, line: start}, err
}

// blank passes over blanks, comments and joined lines.
func (l *lexer) blank() {
	for l.pos < len(l.src) {
		switch {
		case strings.HasPrefix(l.src[l.pos:], "\\\n"):
			l.pos += 2
			l.line++
		case strings.HasPrefix(l.src[l.pos:], "\\\r\n"):
			l.pos += 3
			l.line++
		case strings.ContainsRune(" \t\r", rune(l.src[l.pos])):
			l.pos++
		case l.src[l.pos] == '#':
			for l.pos < len(l.src) && l.src[l.pos] != '\n' {
				l.pos++
			}
		default:
			return
		}
	}
}

// word reads up to a blank or an operator, or with a non-empty stop, up to one
// of its bytes, which is left. The result is never nil.
func (l *lexer) word(stop string) (word, error) {
	ends := stop
	if stop == "" {
		ends = " \t\r\n;&|()<>"
	}
	w := word{}
	for l.pos < len(l.src) && strings.IndexByte(ends, l.src[l.pos]) < 0 {
		var err error
		switch l.src[l.pos] {
		case '\'':
			w, err = l.single(w)
		case '"':
			w, err = l.double(w)
		case '\\':
			w = l.escape(w)
		case '$':
			w, err = l.dollar(w, false)
		case '`':
			w, err = l.backquote(w, false)
		default:
			w = w.add(l.run(`'"\$`+"`"+ends), false)
		}
		if err != nil {
			return w, err
		}
	}
	return w, nil
}

// run takes at least one byte and all that follow up to one of stop.
func (l *lexer) run(stop string) string {
	rest := l.src[l.pos:]
	n := strings.IndexAny(rest[1:], stop)
	if n < 0 {
		n = len(rest) - 1
	}
	l.pos += n + 1
	l.line += strings.Count(rest[:n+1], "\n")
	return rest[:n+1]
}

// add appends literal text, to the last part where that is of its kind.
func (w word) add(text string, quoted bool) word {
	if n := len(w); n > 0 && w[n-1].kind == literal && w[n-1].quoted == quoted {
		w[n-1].text += text
		return w
	}
	return append(w, part{text: text, quoted: quoted})
}

func (l *lexer) single(w word) (word, error) {
	n := strings.IndexByte(l.src[l.pos+1:], '\'')
	if n < 0 {
		return w, errQuote
	}
	text := l.src[l.pos+1 : l.pos+1+n]
	l.pos += n + 2
	l.line += strings.Count(text, "\n")
	return w.add(text, true), nil
}

func (l *lexer) escape(w word) word {
	l.pos++
	if l.pos >= len(l.src) {
		return w.add("\\", true)
	}
	c := l.src[l.pos]
	l.pos++
	if c == '\n' {
		l.line++
		return w
	}
	return w.add(l.src[l.pos-1:l.pos], true)
}

func (l *lexer) double(w word) (word, error) {
	l.pos++
	w = w.add("", true) // "" is a word, too
	for l.pos < len(l.src) {
		var err error
		switch l.src[l.pos] {
		case '"':
			l.pos++
			return w, nil
		case '$':
			w, err = l.dollar(w, true)
		case '`':
			w, err = l.backquote(w, true)
		case '\\':
			// Inside double quotes the backslash only escapes these.
			if l.pos+1 < len(l.src) && strings.IndexByte("$`\"\\\n", l.src[l.pos+1]) >= 0 {
				w = l.escape(w)
				continue
			}
			w = w.add("\\", true)
			l.pos++
		default:
			w = w.add(l.run("\"$\\`"), true)
		}
		if err != nil {
			return w, err
		}
	}
	return w, errQuote
}

func (l *lexer) backquote(w word, quoted bool) (word, error) {
	n := strings.IndexByte(l.src[l.pos+1:], '`')
	if n < 0 {
		return w, errQuote
	}
	text := l.src[l.pos : l.pos+n+2]
	l.pos += n + 2
	l.line += strings.Count(text, "\n")
	return append(w, part{kind: unknown, text: "the output of " + text, quoted: quoted}), nil
}

// dollar reads what begins with "$".
func (l *lexer) dollar(w word, quoted bool) (word, error) {
	rest := l.src[l.pos+1:]
	if name := leadingName(rest); name != "" {
		l.pos += 1 + len(name)
		return append(w, part{kind: expansion, text: name, quoted: quoted}), nil
	}
	switch {
	case strings.HasPrefix(rest, "{"):
		return l.braces(w, quoted)
	case strings.HasPrefix(rest, "("):
		return l.substitution(w, quoted)
	case rest != "" && strings.IndexByte("$?!#*@-0123456789", rest[0]) >= 0:
		l.pos += 2
		return append(w, part{kind: unknown, text: "$" + rest[:1], quoted: quoted}), nil
	}
	l.pos++
	return w.add("$", quoted), nil
}

// substitution reads $((…)), and passes over $(…), whose value is not known here.
func (l *lexer) substitution(w word, quoted bool) (word, error) {
	start, depth := l.pos, 0
	for l.pos++; l.pos < len(l.src); l.pos++ {
		switch l.src[l.pos] {
		case '(':
			depth++
		case ')':
			depth--
		case '\n':
			l.line++
		case '\\':
			l.pos++
		case '\'':
			n := strings.IndexByte(l.src[l.pos+1:], '\'')
			if n < 0 {
				return w, errQuote
			}
			l.line += strings.Count(l.src[l.pos:l.pos+n+1], "\n")
			l.pos += n + 1
		}
		if depth == 0 {
			l.pos++
			text := l.src[start:l.pos]
			if strings.HasPrefix(text, "$((") && strings.HasSuffix(text, "))") {
				return append(w, part{kind: arithmetic, text: text[3 : len(text)-2], quoted: quoted}), nil
			}
			return append(w, part{kind: unknown, text: "the output of " + text, quoted: quoted}), nil
		}
	}
	return w, errors.New("$( is not closed")
}

// braces reads ${name}, ${name:-word} and their like.
func (l *lexer) braces(w word, quoted bool) (word, error) {
	start := l.pos
	l.pos += 2
	p := part{kind: expansion, quoted: quoted}
	if strings.HasPrefix(l.src[l.pos:], "#") {
		p.op = "#"
		l.pos++
	}
	p.text = leadingName(l.src[l.pos:])
	l.pos += len(p.text)
	if p.text == "" {
		p.kind = unknown
	}
	if p.op == "" {
		for _, op := range []string{":-", ":+", ":=", ":?", "-", "+", "=", "?"} {
			if strings.HasPrefix(l.src[l.pos:], op) {
				p.op = op
				l.pos += len(op)
				break
			}
		}
	}
	if l.depth++; l.depth > maxNesting {
		return w, errors.New("expansions are nested too deeply")
	}
	arg, err := l.word("}")
	l.depth--
	if err != nil {
		return w, err
	}
	if l.pos >= len(l.src) {
		return w, fmt.Errorf("${%s is not closed", p.text)
	}
	l.pos++
	if p.arg = arg; p.kind == unknown || len(arg) > 0 && (p.op == "" || p.op == "#") {
		p = part{kind: unknown, text: l.src[start:l.pos], quoted: quoted}
	}
	return append(w, p), nil
}

// leadingName is the variable name at the beginning of s.
func leadingName(s string) string {
	n := 0
	for n < len(s) && (s[n] == '_' || s[n]|0x20 >= 'a' && s[n]|0x20 <= 'z' || n > 0 && s[n] >= '0' && s[n] <= '9') {
		n++
	}
	return s[:n]
}
