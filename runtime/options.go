package runtime

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/flatrun/flatrun/runtime/ident"
	"github.com/flatrun/flatrun/runtime/vfs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Types of mounts that OCI does not know.
const (
	typeLink    = "x-link"    // a symbolic link to Source
	typeMerge   = "x-merge"   // entries of Source that Destination lacks
	typeFile    = "x-file"    // a file in memory with x-content
	typePasswd  = "x-passwd"  // the image's password file with the line x-line
	typeGroup   = "x-group"   // the image's group file with the lines x-line
	typeFUSE    = "x-fuse"    // served by the program x-word (repeated: its arguments), see FUSE
	typeOverlay = "x-overlay" // on /: x-layer, x-lower (repeated), and x-upper or x-memory with size
)

// Options of mounts that OCI does not know. Those with a value are written NAME=VALUE.
const (
	optOptional = "x-optional" // left out silently if the source does not exist
	optWeak     = "x-weak"     // left out with a message if anything fails
	optUnique   = "x-unique"   // left out if an earlier mount has the same place
	optExists   = "x-exists"   // left out unless the image has the target
	optNoFollow = "x-nofollow" // a file goes over the target itself if that is a link
	optCwd      = "x-cwd"      // not needed if the target shows the same directory already
	optMake     = "x-make"     // =MODE, octal: make the source directory
	optOr       = "x-or"       // =PATH: another source, if the first does not exist; repeated
	optFallback = "x-fallback" // =PATH: bound if the kernel refuses the file system
	optOrigin   = "x-origin"   // =WHO: who wants it, for messages
	optContent  = "x-content"  // =TEXT
	optLine     = "x-line"     // =LINE; repeated
	optLayer    = "x-layer"    // =DIR; repeated; below what x-lower names
	optLower    = "x-lower"    // =DIR; repeated
	optUpper    = "x-upper"    // =DIR
	optMemory   = "x-memory"
	optWord     = "x-word"   // =TEXT; repeated
	optHost     = "x-host"   // the program is the host's
	optDaemon   = "x-daemon" // it goes into the background
)

// Annotations.
const (
	annotationHome  = "org.flatrun.home"      // the home directory inside, to which Start falls back
	annotationImage = "org.flatrun.image"     // the image's name for messages
	annotationFS    = "org.flatrun.memory-fs" // the type of the file system of what is made in memory
)

// vfsMount translates a mount of a specification.
func vfsMount(m specs.Mount) (vfs.Mount, error) {
	v := vfs.Mount{Source: m.Source, Target: m.Destination, Mode: 0o755}
	var lines []string
	for _, o := range m.Options {
		name, value, _ := strings.Cut(o, "=")
		if err := option(&v, name, value, o, m.Type, &lines); err != nil {
			return v, fmt.Errorf("mount %s: option %s: %w", m.Destination, o, err)
		}
	}
	switch m.Type {
	case "", "bind", "none":
		v.Kind = vfs.Bind
	case "tmpfs":
		v.Kind = vfs.Memory
	case typeLink:
		v.Kind = vfs.Link
	case typeMerge:
		v.Kind = vfs.Merge
	case typeFile:
		v.Kind, v.Mode = vfs.File, 0o644
	case typePasswd:
		v.Kind, v.Mode, v.Content = vfs.File, 0o644, account("/etc/passwd", ident.Passwd, lines)
	case typeGroup:
		v.Kind, v.Mode, v.Content = vfs.File, 0o644, account("/etc/group", ident.Group, lines)
	case typeFUSE:
		v.Kind, v.Source = vfs.FS, "fuse"
	default:
		v.Kind, v.Source = vfs.FS, m.Type
	}
	return v, nil
}

// account returns the content of a password or group file made of the image's and further lines.
func account(path string, merge func(file []byte, lines []string) []byte, lines []string) func(int) ([]byte, error) {
	return func(root int) ([]byte, error) {
		file, err := vfs.ReadFile(root, path)
		if err != nil {
			return nil, err
		}
		return merge(file, lines), nil
	}
}

// option carries one option over to v. What is neither OCI's nor ours is the file system's.
func option(v *vfs.Mount, name, value, whole, kind string, lines *[]string) error {
	switch name {
	case "bind":
		v.NoRecurse = true
	case "rw", "suid", "dev", "exec", "private", "rprivate", "slave", "rslave", "relatime", "strictatime", "noatime":
	case "rbind":
	case "ro":
		v.ReadOnly = true
	case "nosuid":
		v.NoSUID = true
	case "nodev":
		v.NoDev = true
	case "noexec":
		v.NoExec = true
	case "mode":
		if kind != "tmpfs" {
			v.Data = append(v.Data, whole)
			break
		}
		return octal(value, &v.Mode)
	case optMake:
		v.Make = true
		return octal(value, &v.Mode)
	case optOptional:
		v.Optional = true
	case optWeak:
		v.Weak = true
	case optUnique:
		v.Unique = true
	case optExists:
		v.Exists = true
	case optNoFollow:
		v.NoFollow = true
	case optCwd:
		v.Cwd = true
	case optOr:
		v.Or = append(v.Or, value)
	case optFallback:
		v.Fallback = value
	case optOrigin:
		v.Origin = value
	case optContent:
		v.Content = func(int) ([]byte, error) { return []byte(value), nil }
	case optWord, optHost, optDaemon: // read by drivers
	case optLine:
		*lines = append(*lines, value)
	default:
		if strings.HasPrefix(name, "x-") {
			return fmt.Errorf("unknown")
		}
		v.Data = append(v.Data, whole)
	}
	return nil
}

func octal(s string, mode *uint32) error {
	n, err := strconv.ParseUint(s, 8, 12)
	*mode = uint32(n)
	return err
}

// rootOf translates the root of a specification, and what is laid over it.
func rootOf(spec *specs.Spec) (vfs.Root, []specs.Mount, error) {
	r := vfs.Root{Image: spec.Root.Path, Name: spec.Annotations[annotationImage], Writable: !spec.Root.Readonly, MemoryFS: spec.Annotations[annotationFS]}
	if spec.Linux != nil {
		r.Private = spec.Linux.RootfsPropagation == "private"
	}
	mounts := spec.Mounts
	if len(mounts) > 0 && mounts[0].Type == typeOverlay {
		for _, o := range mounts[0].Options {
			name, value, _ := strings.Cut(o, "=")
			switch name {
			case optLayer:
				r.Layers = append(r.Layers, value)
			case optLower:
				r.Lower = append(r.Lower, value)
			case optUpper:
				r.Upper = value
			case optMemory:
				r.Memory = true
			case "size":
				n, err := strconv.ParseInt(value, 10, 64)
				if err != nil {
					return r, nil, fmt.Errorf("overlay: size %q: %w", value, err)
				}
				r.Size = n
			default:
				return r, nil, fmt.Errorf("overlay: option %s: unknown", o)
			}
		}
		r.Writable, mounts = false, mounts[1:]
	}
	return r, mounts, nil
}
