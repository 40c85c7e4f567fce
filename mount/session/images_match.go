package session

import (
	"fmt"
	"regexp"
	"strings"
)

// matcher decides about an image by its name.
func (q *ImageQuery) matcher() (func(*Image) bool, error) {
	var patterns []*regexp.Regexp
	for _, p := range q.Patterns {
		re, err := compilePattern(p)
		if err != nil {
			return nil, err
		}
		patterns = append(patterns, re)
	}
	return func(i *Image) bool {
		name := i.Reference()
		for _, term := range q.Terms {
			if !strings.Contains(strings.ToLower(name), strings.ToLower(term)) {
				return false
			}
		}
		for _, re := range patterns {
			if re.MatchString(name) {
				return true
			}
		}
		return len(patterns) == 0
	}, nil
}

// compilePattern translates a pattern of image names. * stands for any text, slashes and all, ? for one character, [a-z]
// for one of a set. Components may be left out in front, as in short names; without a tag, any tag is meant,
// and without a platform, any platform.
func compilePattern(pattern string) (*regexp.Regexp, error) {
	text := strings.TrimPrefix(strings.TrimPrefix(pattern, "docker://"), "/")
	var b strings.Builder
	b.WriteString(`^(?:.*/)?`)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '*':
			b.WriteString(".*")
		case '?':
			b.WriteByte('.')
		case '[':
			end := strings.IndexByte(text[i:], ']')
			if end < 2 {
				return nil, fmt.Errorf("pattern %s: [ has no ]", pattern)
			}
			set := strings.ReplaceAll(text[i+1:i+end], `\`, `\\`)
			if set[0] == '!' {
				set = "^" + set[1:]
			}
			b.WriteString("[" + set + "]")
			i += end
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	switch last := text[strings.LastIndexByte(text, '/')+1:]; {
	case strings.Contains(last, "@"):
	case strings.Contains(last, ":"):
		b.WriteString(`(?:@[^:]*)?`)
	default:
		b.WriteString(`(?:[:@].*)?`)
	}
	b.WriteByte('$')
	re, err := regexp.Compile(b.String())
	if err != nil {
		return nil, fmt.Errorf("pattern %s is not understood", pattern)
	}
	return re, nil
}
