// Package ident adds the caller to the password and group files of an image.
package ident

import (
	"bytes"
	"strings"
)

// Passwd returns a password file with lines in place of those that have the same name or user id.
func Passwd(file []byte, lines []string) []byte { return merge(file, lines, 0, 2) }

// Group returns a group file with lines in place of those that have the same group id. A group of the same name and
// another id stays: files of the image may belong to it.
func Group(file []byte, lines []string) []byte { return merge(file, lines, 2) }

// merge leaves out the lines of file that agree with a new one in one of the fields, and appends the new ones.
func merge(file []byte, lines []string, fields ...int) []byte {
	out := make([]byte, 0, len(file)+256)
	for old := range bytes.Lines(file) {
		if !replaced(string(bytes.TrimRight(old, "\n")), lines, fields) {
			out = append(out, old...)
		}
	}
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, '\n')
	}
	for _, l := range lines {
		out = append(append(out, l...), '\n')
	}
	return out
}

func replaced(old string, lines []string, fields []int) bool {
	for _, n := range fields {
		value, ok := field(old, n)
		if !ok {
			continue
		}
		for _, l := range lines {
			if new, ok := field(l, n); ok && new == value {
				return true
			}
		}
	}
	return false
}

// field returns the n-th of the fields separated by colons.
func field(line string, n int) (string, bool) {
	fields := strings.SplitN(line, ":", n+2)
	if len(fields) <= n {
		return "", false
	}
	return fields[n], true
}
