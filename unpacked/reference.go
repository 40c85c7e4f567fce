package unpacked

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// DockerHub is the name under which unpacked repositories file Docker Hub.
const DockerHub = "registry.hub.docker.com"

// hubNames are the names that all mean Docker Hub, in the order of use.
var hubNames = []string{DockerHub, "docker.io", "index.docker.io", "registry-1.docker.io"}

// maxName is Docker's bound on registry and repository together.
const maxName = 255

// Reference names an image in a registry.
type Reference struct {
	Scheme     string // "http", "https", "docker", or "" where none was written
	Registry   string // host, with a port where it has one
	Repository string // path inside the registry, "library/debian"
	Tag        string // "" where only a digest was given
	Digest     Digest // "" where none was given
	Short      bool   // the registry was not written but taken from the default
}

// ParseReference reads an image name by Docker's rules: the first component is
// a registry if it has a dot, a colon or a capital letter or is "localhost";
// otherwise the name belongs to defaultRegistry ("" means DockerHub). On Docker
// Hub a name of one component is in "library"; without tag and digest the tag
// is "latest". A leading docker://, http:// or https:// is kept as the scheme;
// after the last two the first component is always the registry.
func ParseReference(s, defaultRegistry string) (Reference, error) {
	return parse(s, defaultRegistry, false)
}

// ParsePattern is ParseReference for a wish: the tag may have "*" in it.
func ParsePattern(s, defaultRegistry string) (Reference, error) {
	return parse(s, defaultRegistry, true)
}

func parse(s, defaultRegistry string, pattern bool) (Reference, error) {
	var r Reference
	rest := s
	if scheme, after, ok := strings.Cut(s, "://"); ok {
		if scheme != "http" && scheme != "https" && scheme != "docker" {
			return r, fmt.Errorf("image %q: scheme %q is not known; want docker, https or http", s, scheme)
		}
		r.Scheme, rest = scheme, after
	}
	if name, digest, ok := strings.Cut(rest, "@"); ok {
		d, err := ParseDigest(digest)
		if err != nil {
			return r, fmt.Errorf("image %q: %w", s, err)
		}
		r.Digest, rest = d, name
	}
	if i := strings.LastIndexByte(rest, ':'); i >= 0 && !strings.Contains(rest[i:], "/") {
		r.Tag, rest = rest[i+1:], rest[:i]
		if err := checkTag(r.Tag, pattern); err != nil {
			return r, fmt.Errorf("image %q: %w", s, err)
		}
	}
	if r.Tag == "" && r.Digest == "" {
		r.Tag = "latest"
	}
	r.split(rest, defaultRegistry)
	if err := r.check(); err != nil {
		return r, fmt.Errorf("image %q: %w", s, err)
	}
	return r, nil
}

// split tells registry and repository apart.
func (r *Reference) split(name, defaultRegistry string) {
	first, after, ok := strings.Cut(name, "/")
	if ok && (looksLikeHost(first) || r.Scheme == "http" || r.Scheme == "https") {
		r.Registry, r.Repository = first, after
	} else {
		r.Short = true
		r.Registry, r.Repository = defaultRegistry, name
		if r.Registry == "" {
			r.Registry = DockerHub
		}
	}
	if IsDockerHub(r.Registry) && !strings.Contains(r.Repository, "/") {
		r.Repository = "library/" + r.Repository
	}
}

func looksLikeHost(s string) bool {
	return s == "localhost" || strings.ContainsAny(s, ".:") || strings.ToLower(s) != s
}

// IsDockerHub tells whether a registry's name is one of Docker Hub's.
func IsDockerHub(registry string) bool {
	for _, name := range hubNames {
		if registry == name {
			return true
		}
	}
	return false
}

func (r Reference) check() error {
	if err := checkRegistry(r.Registry); err != nil {
		return err
	}
	for component := range strings.SplitSeq(r.Repository, "/") {
		if err := checkComponent(component); err != nil {
			return err
		}
	}
	if len(r.Registry)+1+len(r.Repository) > maxName {
		return fmt.Errorf("the name has more than %d characters", maxName)
	}
	return nil
}

// checkComponent holds Docker's grammar of a path component: runs of lower-case
// letters and digits, joined by one ".", one or two "_", or any number of "-".
func checkComponent(s string) error {
	if s == "" {
		return fmt.Errorf("a component of the name is empty")
	}
	for len(s) > 0 {
		word := len(s) - len(strings.TrimLeft(s, "abcdefghijklmnopqrstuvwxyz0123456789"))
		if word == 0 {
			return fmt.Errorf("%q in the name: want lower-case letters, digits, and single separators between them", s)
		}
		if s = s[word:]; s == "" {
			return nil
		}
		joint := s[:len(s)-len(strings.TrimLeft(s, "._-"))]
		if joint != "." && joint != "_" && joint != "__" && strings.Trim(joint, "-") != "" || joint == "" || joint == s {
			return fmt.Errorf("%q in the name: want lower-case letters, digits, and single separators between them", s)
		}
		s = s[len(joint):]
	}
	return nil
}

func checkTag(tag string, pattern bool) error {
	if tag == "" || len(tag) > 128 {
		return fmt.Errorf("a tag has 1 to 128 characters")
	}
	for i, c := range []byte(tag) {
		word := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
		if !word && (i == 0 || c != '.' && c != '-') && !(pattern && c == '*') {
			return fmt.Errorf("tag %q: character %q is not allowed there", tag, c)
		}
	}
	return nil
}

func checkRegistry(s string) error {
	host := s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		port, err := strconv.ParseUint(s[i+1:], 10, 16)
		if err != nil || port == 0 || s[i+1] == '+' {
			return fmt.Errorf("registry %q: bad port", s)
		}
		host = s[:i]
	}
	if strings.HasPrefix(host, "[") {
		addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
		if err != nil || !addr.Is6() || addr.Zone() != "" || !strings.HasSuffix(host, "]") {
			return fmt.Errorf("registry %q: bad address", s)
		}
		return nil
	}
	for label := range strings.SplitSeq(host, ".") {
		bad := label == "" || label[0] == '-' || label[len(label)-1] == '-'
		for _, c := range []byte(label) {
			bad = bad || !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-')
		}
		if bad {
			return fmt.Errorf("registry %q: not a host name", s)
		}
	}
	return nil
}

// Name is registry/repository without tag and digest.
func (r Reference) Name() string { return r.Registry + "/" + r.Repository }

// String is the reference in full, without the scheme, fit for ParseReference.
func (r Reference) String() string {
	s := r.Name()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + string(r.Digest)
	}
	return s
}

// Path is where the link to the flat image stands in a repository. A reference
// with a digest is filed under the digest: its tag may have moved.
func (r Reference) Path() string {
	if r.Digest != "" {
		return "/" + r.Name() + "@" + string(r.Digest)
	}
	return "/" + r.Name() + ":" + r.Tag
}
