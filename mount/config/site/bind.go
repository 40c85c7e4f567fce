package site

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
)

// Bind shows Source of the host as Target in containers.
type Bind struct {
	Source   string `json:"source"`
	Target   string `json:"target,omitempty"` // "" = Source
	ReadOnly bool   `json:"read_only,omitempty"`
	// IfExists leaves the bind out silently where the host has no Source;
	// without it that is an error.
	IfExists bool   `json:"if_exists,omitempty"`
	Origin   string `json:"origin,omitempty"` // file and line, for messages
}

// ParseBind reads "source[:target[:options]]" with the comma-separated options
// ro, rw and if-exists. An empty target is the source.
func ParseBind(s string) (Bind, error) {
	parts := strings.SplitN(s, ":", 3)
	b := Bind{Source: parts[0]}
	if len(parts) > 1 {
		b.Target = parts[1]
	}
	if len(parts) > 2 {
		for option := range strings.SplitSeq(parts[2], ",") {
			switch option {
			case "ro":
				b.ReadOnly = true
			case "rw":
				b.ReadOnly = false
			case "if-exists":
				b.IfExists = true
			default:
				return b, fmt.Errorf("bind %q: option %q is not known; want ro, rw or if-exists", s, option)
			}
		}
	}
	return b, b.Check()
}

// Check wants absolute paths.
func (b Bind) Check() error {
	if !path.IsAbs(b.Source) {
		return fmt.Errorf("bind %q: the source is not an absolute path", b)
	}
	if b.Target != "" && !path.IsAbs(b.Target) {
		return fmt.Errorf("bind %q: the target is not an absolute path", b)
	}
	return nil
}

// UnmarshalText is ParseBind.
func (b *Bind) UnmarshalText(text []byte) (err error) {
	*b, err = ParseBind(string(text))
	return err
}

// UnmarshalJSON takes an object, and text as ParseBind does.
func (b *Bind) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		return b.UnmarshalText([]byte(text))
	}
	type object Bind // has no methods
	if err := json.Unmarshal(data, (*object)(b)); err != nil {
		return err
	}
	return b.Check()
}

func (b Bind) String() string {
	var options []string
	if b.ReadOnly {
		options = append(options, "ro")
	}
	if b.IfExists {
		options = append(options, "if-exists")
	}
	s := b.Source
	if b.Target != "" || len(options) > 0 {
		s += ":" + b.Target
	}
	if len(options) > 0 {
		s += ":" + strings.Join(options, ",")
	}
	return s
}
