// Package image turns the IMAGE argument into a directory and a run configuration.
package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Image is an unpacked image: a directory that becomes / and what its maker
// said about running it.
type Image struct {
	Arg      string   // IMAGE as the user wrote it
	Root     string   // absolute directory, as seen from the process that runs it
	Shown    string   // the same by the name that users know, e.g. below /cvmfs
	Name     string   // full name in a registry if the image was found by name
	FQRN     string   // repository the image lies in, or ""
	Revision uint64   // of that repository
	Layers   []string // of a thin image: directories laid over Root, the last one uppermost
	Config   *Config  // OCI run configuration, or nil where the image has its own scripts or nothing
}

// Place is where a repository keeps an image; runtime front ends get it from
// their session.
type Place struct {
	Path     string          // directory, absolute in the session's mount namespace
	Shown    string          // the same below /cvmfs, "" = Path
	Name     string          // full name, if it was looked up by name
	FQRN     string          // repository
	Revision uint64          // of the mounted repository
	Layers   []string        // of a thin image: directories laid over Path, the last one uppermost
	Config   json.RawMessage // OCI image configuration, if there is one
}

// Kind says how an IMAGE argument names its image.
type Kind int

const (
	Directory  Kind = iota // a directory of this machine
	Repository             // to be asked of the session: a path in a repository or an image name
	Instance               // instance://NAME
)

// Classify says what arg names, looking at the file system but not at any
// repository. For Instance, name is the instance's. The error is one line that
// says what to do.
func Classify(arg string) (kind Kind, name string, err error) {
	if arg == "" {
		return 0, "", fmt.Errorf("image name is empty: give a directory, a path below /cvmfs, or registry/name:tag")
	}
	if scheme, rest, ok := cutScheme(arg); ok {
		return classifyScheme(arg, scheme, rest)
	}
	info, err := os.Stat(arg)
	switch {
	case err == nil && info.IsDir():
		return Directory, "", nil
	case err == nil && IsThin(arg):
		return Repository, "", nil
	case err == nil:
		return 0, "", fmt.Errorf("image %s is a file: %w", arg, describeFile(arg))
	case strings.HasPrefix(filepath.Clean(arg), "/cvmfs/"):
		return Repository, "", nil
	case isPath(arg) || isLink(arg):
		return 0, "", fmt.Errorf("could not open image %s: %w", arg, reason(err))
	}
	return Repository, "", nil
}

// isPath reports whether arg can only be meant as a path of this machine.
func isPath(arg string) bool {
	return strings.HasPrefix(arg, "/") || strings.HasPrefix(arg, "./") || strings.HasPrefix(arg, "../") ||
		arg == "." || arg == ".." || strings.HasPrefix(arg, "~") || strings.HasSuffix(arg, ".sif") || strings.HasSuffix(arg, ".img")
}

// isLink reports whether arg is a link, which leads nowhere if it cannot be followed.
func isLink(arg string) bool {
	info, err := os.Lstat(arg)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

// cutScheme splits transport://rest and the transports that take one colon.
func cutScheme(arg string) (scheme, rest string, ok bool) {
	if scheme, rest, ok = strings.Cut(arg, "://"); ok && !strings.ContainsAny(scheme, "/.:@") {
		return scheme, rest, true
	}
	for _, s := range [...]string{"oci", "oci-archive", "docker-archive", "docker-daemon"} {
		if rest, ok = strings.CutPrefix(arg, s+":"); ok {
			return s, rest, true
		}
	}
	return "", "", false
}

func classifyScheme(arg, scheme, rest string) (Kind, string, error) {
	switch scheme {
	case "instance":
		if rest == "" {
			return 0, "", fmt.Errorf("image %s names no instance", arg)
		}
		return Instance, rest, nil
	case "cvmfs":
		if strings.Trim(rest, "/") == "" {
			return 0, "", fmt.Errorf("image %s names no repository: write cvmfs://FQRN/path", arg)
		}
		return Repository, "", nil
	case "docker":
		if rest == "" {
			return 0, "", fmt.Errorf("image %s has no name: write docker://registry/name:tag", arg)
		}
		return Repository, "", nil
	case "oci", "oci-archive":
		return Repository, "", nil // a thin image, or the session says that it is none
	case "oras", "library", "shub", "http", "https", "ipfs", "docker-archive", "docker-daemon":
		return 0, "", fmt.Errorf("image %s: nothing is fetched from %s at start: publish the image in a repository with flathub, or unpack it into a directory", arg, scheme)
	}
	return 0, "", fmt.Errorf("unsupported transport type %q in image %s: use a directory, /cvmfs/FQRN/path, cvmfs://, docker:// or registry/name:tag", scheme, arg)
}

// FromDirectory is the image in a directory of this machine.
func FromDirectory(arg string) (*Image, error) {
	root, err := filepath.Abs(arg)
	if err != nil {
		return nil, fmt.Errorf("find image %s: %w", arg, err)
	}
	return &Image{Arg: arg, Root: root, Shown: root}, nil
}

// FromPlace is the image that a session found in a repository.
func FromPlace(arg string, place Place) (*Image, error) {
	i := &Image{Arg: arg, Root: place.Path, Shown: place.Shown, Name: place.Name, FQRN: place.FQRN, Revision: place.Revision, Layers: place.Layers}
	if i.Shown == "" {
		i.Shown = i.Root
	}
	if len(place.Config) == 0 {
		return i, nil
	}
	config, err := ParseConfig(place.Config)
	if err != nil {
		return nil, fmt.Errorf("read configuration of image %s: %w", arg, err)
	}
	i.Config = config
	return i, nil
}

// reason strips the system call and path that the message names already.
func reason(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
