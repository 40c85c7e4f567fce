package shell

import (
	"errors"
	"os"
	"strconv"
	"strings"
)

// errArithmetic is an expression beyond what is understood here, or one without
// a value.
var errArithmetic = errors.New("not understood")

// calculation evaluates the inside of $((…)): whole numbers, variables, $$, the
// signs + - * / % and parentheses. Configurations use it to spread their users
// over servers.
type calculation struct {
	rest   string
	lookup func(name string) (string, bool) // false: not known
	depth  int
}

func calculate(expression string, lookup func(name string) (string, bool)) (int64, error) {
	c := &calculation{rest: expression, lookup: lookup}
	n, err := c.sum()
	if err == nil && c.peek() != 0 {
		err = errArithmetic
	}
	return n, err
}

// peek is the next byte that is no blank, 0 at the end.
func (c *calculation) peek() byte {
	c.rest = strings.TrimLeft(c.rest, " \t\n")
	if c.rest == "" {
		return 0
	}
	return c.rest[0]
}

func (c *calculation) sum() (int64, error) {
	n, err := c.product()
	for err == nil && (c.peek() == '+' || c.peek() == '-') {
		sign := c.rest[0]
		c.rest = c.rest[1:]
		var m int64
		if m, err = c.product(); sign == '-' {
			m = -m
		}
		n += m // wraps around, as in bash
	}
	return n, err
}

func (c *calculation) product() (int64, error) {
	n, err := c.operand()
	for err == nil && strings.IndexByte("*/%", max(c.peek(), 1)) >= 0 {
		op := c.rest[0]
		c.rest = c.rest[1:]
		var m int64
		if m, err = c.operand(); err != nil {
			break
		}
		switch {
		case op == '*':
			n *= m
		case m == 0:
			err = errArithmetic
		case op == '/':
			n /= m
		default:
			n %= m
		}
	}
	return n, err
}

func (c *calculation) operand() (int64, error) {
	if c.depth++; c.depth > maxNesting {
		return 0, errArithmetic
	}
	defer func() { c.depth-- }()
	switch b := c.peek(); {
	case b == '-' || b == '+':
		c.rest = c.rest[1:]
		n, err := c.operand()
		if b == '-' {
			n = -n
		}
		return n, err
	case b == '(':
		c.rest = c.rest[1:]
		n, err := c.sum()
		if err != nil || c.peek() != ')' {
			return 0, errArithmetic
		}
		c.rest = c.rest[1:]
		return n, nil
	case strings.HasPrefix(c.rest, "$$"):
		c.rest = c.rest[2:]
		return int64(os.Getpid()), nil
	case b >= '0' && b <= '9':
		digits := c.rest[:len(c.rest)-len(strings.TrimLeft(c.rest, "0123456789"))]
		c.rest = c.rest[len(digits):]
		return number(digits)
	}
	return c.variable()
}

func (c *calculation) variable() (int64, error) {
	text := strings.TrimPrefix(c.rest, "$")
	name := leadingName(text)
	if braced, ok := strings.CutPrefix(text, "{"); ok && len(text) < len(c.rest) {
		name = leadingName(braced)
		if text, ok = strings.CutPrefix(braced[len(name):], "}"); !ok {
			return 0, errArithmetic
		}
		c.rest = text
	} else {
		c.rest = text[len(name):]
	}
	value, ok := c.lookup(name)
	if name == "" || !ok {
		return 0, errArithmetic
	}
	if value = strings.TrimSpace(value); value == "" {
		return 0, nil
	}
	return number(value)
}

// number reads a decimal one. A leading zero would make it octal.
func number(digits string) (int64, error) {
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || len(digits) > 1 && digits[0] == '0' {
		return 0, errArithmetic
	}
	return n, nil
}
