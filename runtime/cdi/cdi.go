// Package cdi reads specifications of the Container Device Interface and collects what the devices asked for want of a
// container: device nodes, mounts, variables.
//
// A specification is a JSON or YAML file below /etc/cdi or /var/run/cdi, most often written by the maker's own tool such
// as nvidia-ctk. Hooks are programs that the runtime would have to start outside of the container; they are not run, and
// Edits says which devices have any. This package reads JSON; YAML is turned into it by whoever can (Options.Convert).
//
// https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md
package cdi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// DefaultDirs are where specifications are; the last one is the strongest.
var DefaultDirs = [...]string{"/etc/cdi", "/var/run/cdi"}

// Edits are what a container gets. The fields are those of the specification that can be carried out here.
type Edits struct {
	Env         []string     `json:"env"`
	DeviceNodes []DeviceNode `json:"deviceNodes"`
	Mounts      []Mount      `json:"mounts"`
	Hooks       []Hook       `json:"hooks"`
}

// DeviceNode is a device; its type and numbers do not matter, as the host's node is shown.
type DeviceNode struct {
	Path        string `json:"path"`     // in the container
	HostPath    string `json:"hostPath"` // "" = Path
	Permissions string `json:"permissions"`
}

// Mount is a bind.
type Mount struct {
	HostPath      string   `json:"hostPath"`
	ContainerPath string   `json:"containerPath"`
	Options       []string `json:"options"`
}

// Hook is what is not run.
type Hook struct {
	HookName string `json:"hookName"`
	Path     string `json:"path"`
}

// Spec is one file.
type Spec struct {
	Version string   `json:"cdiVersion"`
	Kind    string   `json:"kind"` // vendor/class
	Devices []Device `json:"devices"`
	Edits   Edits    `json:"containerEdits"` // for every device of the file
}

// Device is one device of a file.
type Device struct {
	Name  string `json:"name"`
	Edits Edits  `json:"containerEdits"`
}

// Options say where to look.
type Options struct {
	Dirs    []string                          // none = DefaultDirs
	Convert func(file string) ([]byte, error) // YAML to JSON; nil = such files cannot be read
}

// maxSpec bounds a file; a large machine's has some hundred kilobytes.
const maxSpec = 16 << 20

// Parse reads one specification in JSON.
func Parse(data []byte) (*Spec, error) {
	var s Spec
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(s.Version, "0.") && !strings.HasPrefix(s.Version, "1.") && s.Version != "1" {
		return nil, fmt.Errorf("cdiVersion %q is not known", s.Version)
	}
	vendor, class, ok := strings.Cut(s.Kind, "/")
	if !ok || vendor == "" || class == "" || strings.ContainsAny(s.Kind, "= \t\n") {
		return nil, fmt.Errorf("kind %q is not vendor/class", s.Kind)
	}
	all := []*Edits{&s.Edits}
	for i := range s.Devices {
		if s.Devices[i].Name == "" {
			return nil, fmt.Errorf("device %d has no name", i)
		}
		all = append(all, &s.Devices[i].Edits)
	}
	for _, e := range all {
		if err := e.check(); err != nil {
			return nil, err
		}
	}
	return &s, nil
}

// check completes the edits and refuses what could not be meant.
func (e *Edits) check() error {
	for i := range e.DeviceNodes {
		d := &e.DeviceNodes[i]
		if d.HostPath == "" {
			d.HostPath = d.Path
		}
		if !filepath.IsAbs(d.Path) || !filepath.IsAbs(d.HostPath) {
			return fmt.Errorf("device node %q at %q: both paths have to be absolute", d.HostPath, d.Path)
		}
	}
	for _, m := range e.Mounts {
		if !filepath.IsAbs(m.HostPath) || !filepath.IsAbs(m.ContainerPath) {
			return fmt.Errorf("mount %q at %q: both paths have to be absolute", m.HostPath, m.ContainerPath)
		}
	}
	for _, kv := range e.Env {
		if name, _, ok := strings.Cut(kv, "="); !ok || name == "" {
			return fmt.Errorf("variable %q is not NAME=value", kv)
		}
	}
	return nil
}

// Find collects the edits of the devices, which are named vendor/class=name. The error names the device, and what
// there is in its place.
func Find(names []string, o Options) (Edits, error) {
	var found Edits
	if len(names) == 0 {
		return found, nil
	}
	specs, broken, err := load(o)
	if err != nil {
		return found, err
	}
	var common []*Spec // whose own edits have been taken
	for _, name := range names {
		kind, device, ok := strings.Cut(name, "=")
		if !ok || !strings.Contains(kind, "/") || device == "" {
			return found, fmt.Errorf("device %s: want vendor/class=name, such as nvidia.com/gpu=0", name)
		}
		spec, edits := lookUp(specs, kind, device)
		if edits == nil {
			return found, missing(name, specs, broken, o)
		}
		if !slices.Contains(common, spec) {
			common = append(common, spec)
			found.add(&spec.Edits)
		}
		found.add(edits)
	}
	return found, nil
}

// lookUp finds a device in the strongest file that has it.
func lookUp(specs []*Spec, kind, device string) (*Spec, *Edits) {
	for _, s := range slices.Backward(specs) {
		if s.Kind != kind {
			continue
		}
		for i := range s.Devices {
			if s.Devices[i].Name == device {
				return s, &s.Devices[i].Edits
			}
		}
	}
	return nil, nil
}

// add takes edits over, each once: devices of one file have much in common.
func (e *Edits) add(more *Edits) {
	for _, kv := range more.Env {
		if !slices.Contains(e.Env, kv) {
			e.Env = append(e.Env, kv)
		}
	}
	for _, d := range more.DeviceNodes {
		if !slices.Contains(e.DeviceNodes, d) {
			e.DeviceNodes = append(e.DeviceNodes, d)
		}
	}
	for _, m := range more.Mounts {
		same := func(o Mount) bool { return o.HostPath == m.HostPath && o.ContainerPath == m.ContainerPath }
		if !slices.ContainsFunc(e.Mounts, same) {
			e.Mounts = append(e.Mounts, m)
		}
	}
	for _, h := range more.Hooks {
		if !slices.Contains(e.Hooks, h) {
			e.Hooks = append(e.Hooks, h)
		}
	}
}

// missing says what is there instead of the device.
func missing(name string, specs []*Spec, broken error, o Options) error {
	var have []string
	for _, s := range specs {
		for _, d := range s.Devices {
			if n := s.Kind + "=" + d.Name; !slices.Contains(have, n) {
				have = append(have, n)
			}
		}
	}
	text := fmt.Sprintf("device %s is in no specification below %s", name, strings.Join(o.dirs(), ", "))
	if len(have) > 0 {
		text += "; there are " + strings.Join(have, ", ")
	}
	if broken != nil {
		return fmt.Errorf("%s; %w", text, broken)
	}
	return errors.New(text)
}

func (o Options) dirs() []string {
	if len(o.Dirs) > 0 {
		return o.Dirs
	}
	return DefaultDirs[:]
}

// load reads all files. One that is broken matters only if a device is missing.
func load(o Options) (specs []*Spec, broken error, err error) {
	for _, dir := range o.dirs() {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("device specifications: %w", err)
		}
		for _, e := range entries { // in lexical order
			file := filepath.Join(dir, e.Name())
			spec, err := o.read(file)
			if err != nil {
				broken = errors.Join(broken, fmt.Errorf("%s: %w", file, err))
			} else if spec != nil {
				specs = append(specs, spec)
			}
		}
	}
	return specs, broken, nil
}

// read reads one file; nil is one that is no specification by its name.
func (o Options) read(file string) (*Spec, error) {
	var data []byte
	var err error
	switch filepath.Ext(file) {
	case ".json":
		info, statErr := os.Stat(file)
		if statErr != nil {
			return nil, statErr
		}
		if info.Size() > maxSpec {
			return nil, fmt.Errorf("has %d bytes", info.Size())
		}
		data, err = os.ReadFile(file)
	case ".yaml", ".yml":
		if o.Convert == nil {
			return nil, errors.New("YAML cannot be read here; write the specification as JSON")
		}
		data, err = o.Convert(file)
	default:
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return Parse(data)
}
