package singularity

import "strings"

// scanWord reads a value from the beginning of text: unquoted characters of no
// special meaning, quoted strings, and variables. It ends at a blank or the end.
func scanWord(text string) (word plainWord, rest string, ok bool) {
	for text != "" && text[0] != ' ' && text[0] != '\t' {
		var more plainWord
		switch c := text[0]; {
		case c == '"':
			more, text, ok = scanDouble(text[1:])
		case c == '\'':
			var s string
			s, text, ok = strings.Cut(text[1:], "'")
			more = plainWord{{text: s}}
		case c == '$':
			more, text, ok = scanVariable(text[1:])
			ok = ok && len(more) == 1 && !more[0].defaults && more[0].name != ""
		default:
			n := 0
			for n < len(text) && unquotedSafe(text[n]) {
				n++
			}
			more, text, ok = plainWord{{text: text[:n]}}, text[n:], n > 0
		}
		if !ok {
			return nil, "", false
		}
		word = append(word, more...)
	}
	return word, text, true
}

// unquotedSafe are the characters that mean themselves anywhere in a value.
func unquotedSafe(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '/' || c == ':' || c == ',' || c == '+' || c == '@' || c == '%' || c == '-'
}

// scanDouble reads the rest of a double-quoted string.
func scanDouble(text string) (word plainWord, rest string, ok bool) {
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			word = append(word, plainPart{text: literal.String()})
			literal.Reset()
		}
	}
	for text != "" {
		switch c := text[0]; {
		case c == '"':
			flush()
			return word, text[1:], true
		case c == '\\':
			if len(text) < 2 {
				return nil, "", false
			}
			if !strings.ContainsRune("$\"\\", rune(text[1])) {
				literal.WriteByte('\\')
			}
			literal.WriteByte(text[1])
			text = text[2:]
		case c == '$':
			flush()
			part, after, ok := scanVariable(text[1:])
			if !ok {
				return nil, "", false
			}
			word, text = append(word, part...), after
		default:
			literal.WriteByte(c)
			text = text[1:]
		}
	}
	return nil, "", false
}

// scanVariable reads what follows a dollar sign.
func scanVariable(text string) (word plainWord, rest string, ok bool) {
	if inner, braces := strings.CutPrefix(text, "{"); braces {
		return scanBraces(inner)
	}
	n := nameLength(text)
	if n > 0 {
		return plainWord{{name: text[:n]}}, text[n:], plainName(text[:n])
	}
	// A dollar sign before a blank, a slash or the end of the string is itself.
	if text != "" && (text[0] == ' ' || text[0] == '"' || text[0] == '/' || text[0] == ':') {
		return plainWord{{text: "$"}}, text, true
	}
	return nil, "", false
}

// scanBraces reads NAME} or NAME:-DEFAULT}.
func scanBraces(text string) (word plainWord, rest string, ok bool) {
	n := nameLength(text)
	part := plainPart{name: text[:n]}
	if !plainName(part.name) {
		return nil, "", false
	}
	text = text[n:]
	if after, end := strings.CutPrefix(text, "}"); end {
		return plainWord{part}, after, true
	}
	if text, ok = strings.CutPrefix(text, ":-"); !ok {
		return nil, "", false
	}
	part.defaults = true
	if quoted, is := strings.CutPrefix(text, `"`); is {
		if part.instead, text, ok = scanDouble(quoted); !ok {
			return nil, "", false
		}
	} else {
		n := 0
		for n < len(text) && (unquotedSafe(text[n]) || text[n] == ' ') {
			n++
		}
		if n > 0 {
			part.instead = plainWord{{text: text[:n]}}
		}
		text = text[n:]
	}
	rest, ok = strings.CutPrefix(text, "}")
	return plainWord{part}, rest, ok
}
