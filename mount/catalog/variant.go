package catalog

import "strings"

// ExpandLink replaces $(VAR) and $(VAR:-default) in a link target by the values
// that env gives ("" for unset). Text that is not such a variable stays as it
// is, an unset variable without a default becomes nothing. Values are not
// expanded again.
func ExpandLink(target string, env func(string) string) string {
	if !strings.Contains(target, "$(") {
		return target
	}
	var b strings.Builder
	for {
		head, rest, found := strings.Cut(target, "$(")
		b.WriteString(head)
		if !found {
			return b.String()
		}
		variable, tail, closed := strings.Cut(rest, ")")
		if !closed {
			b.WriteString("$(" + rest)
			return b.String()
		}
		name, value, _ := strings.Cut(variable, ":-")
		if v := env(name); v != "" {
			value = v
		}
		b.WriteString(value)
		target = tail
	}
}
