package wishlist

import (
	"fmt"
	"strings"

	"github.com/flatrun/flatrun/unpacked"
	"github.com/flatrun/flatrun/unpacked/near"
)

// IsPattern tells whether the registry's tags must be listed to know which
// images are wished for.
func (w Wish) IsPattern() bool { return strings.Contains(w.Image.Tag, "*") }

// Matches tells whether a tag is wished for. "*" stands for any number of any
// characters.
func (w Wish) Matches(tag string) bool { return match(w.Image.Tag, tag) }

func match(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return s == pattern
	}
	s, ok := strings.CutPrefix(s, parts[0])
	if !ok {
		return false
	}
	// The leftmost fit of every middle part leaves the most for the rest.
	for _, part := range parts[1 : len(parts)-1] {
		_, after, ok := strings.Cut(s, part)
		if !ok {
			return false
		}
		s = after
	}
	return strings.HasSuffix(s, parts[len(parts)-1])
}

// Names tells whether the wish may be for an image, whose name is given as
// Reference.String has it.
func (w Wish) Names(image string) bool {
	tag, ok := strings.CutPrefix(image, w.Image.Name()+":")
	return ok && w.Matches(tag) || image == w.Image.String()
}

// With is the image of a wish's pattern with one of the tags it matches.
func (w Wish) With(tag string) unpacked.Reference {
	r := w.Image
	r.Tag = tag
	return r
}

// variables gives each variable of output_format its value for an image, as DUCC
// has them: a reference carries its separator, ":tag", "@digest" or both.
func variables(r unpacked.Reference) map[string]string {
	scheme, reference := r.Scheme, ""
	if scheme == "" || scheme == "docker" {
		scheme = "https"
	}
	if r.Tag != "" {
		reference = ":" + r.Tag
	}
	if r.Digest != "" {
		reference += "@" + string(r.Digest)
	}
	tag := r.Tag
	if tag == "" {
		tag = r.Digest.Hex() // a thin image needs some tag to be pushed under
	}
	return map[string]string{
		"scheme":     scheme,
		"registry":   r.Registry,
		"repository": r.Repository,
		"digest":     string(r.Digest),
		"tag":        tag,
		"reference":  reference,
		"image":      r.Repository + reference,
	}
}

// ThinName is the name to push image's thin image under: output_format with
// $(scheme), $(registry), $(repository), $(digest), $(tag), $(reference) and
// $(image) replaced.
func (l *List) ThinName(image unpacked.Reference) (unpacked.Reference, error) {
	text, err := expand(l.Output, variables(image))
	if err != nil {
		return unpacked.Reference{}, err
	}
	r, err := unpacked.ParseReference(text, "")
	r.Digest = "" // that of the fat image; the registry computes the thin one's
	if r.Tag == "" {
		r.Tag = image.Digest.Hex()
	}
	if err != nil {
		return r, fmt.Errorf("output_format %q makes no image name of %s: %w", l.Output, image, err)
	}
	return r, nil
}

func checkFormat(format string) error {
	_, err := expand(format, variables(unpacked.Reference{}))
	return err
}

func expand(format string, values map[string]string) (string, error) {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(format, "$(")
		b.WriteString(before)
		if !ok {
			return b.String(), nil
		}
		name, rest, ok := strings.Cut(after, ")")
		if !ok {
			return "", fmt.Errorf("no ) after $(%s", after)
		}
		value, ok := values[name]
		if !ok {
			names := make([]string, 0, len(values))
			for n := range values {
				names = append(names, n)
			}
			return "", fmt.Errorf("$(%s) is not known%s", name, near.Hint(name, names))
		}
		b.WriteString(value)
		format = rest
	}
}
