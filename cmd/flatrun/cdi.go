package main

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"github.com/flatrun/flatrun/runtime"
	"github.com/flatrun/flatrun/runtime/cdi"
	"github.com/flatrun/flatrun/runtime/gpu"
)

// addDevices brings in the devices of --device. They are not the host's whole
// /dev, so with --contain only they are there.
func (c *container) addDevices(r *runtime.Request) error {
	o := c.options
	if len(o.Devices) == 0 {
		return nil
	}
	edits, err := cdi.Find(o.Devices, cdi.Options{Dirs: o.CDIDirs, Convert: c.convertYAML})
	if err != nil {
		return fatal("--device: %w", err)
	}
	for _, kv := range slices.Backward(edits.Env) { // before the user's, which are stronger
		name, value, _ := strings.Cut(kv, "=")
		o.Env = append(pairs{{name, value}}, o.Env...)
	}
	c.drivers = c.drivers || slices.ContainsFunc(edits.Mounts, isLibrary)
	r.Binds = append(deviceBinds(edits, o.Contain || r.MinimalDev), r.Binds...)
	if len(edits.Hooks) > 0 {
		c.log.infof("%d hooks of %s are not run: what they set up, such as links and the loader's cache, is missing", len(edits.Hooks), strings.Join(o.Devices, ", "))
	}
	return nil
}

func isLibrary(m cdi.Mount) bool { return strings.Contains(m.ContainerPath, ".so") }

// deviceBinds are placed before the user's binds, which may replace them. Libraries
// of drivers go where the image's loader looks for the host's, as no hook runs
// that would tell it of other places, and by the name that programs ask for.
func deviceBinds(e cdi.Edits, contain bool) []runtime.Bind {
	var binds []runtime.Bind
	for _, d := range e.DeviceNodes {
		if contain || d.Path != d.HostPath { // otherwise the host's /dev is there
			binds = append(binds, runtime.Bind{Source: d.HostPath, Target: d.Path, Origin: "--device"})
		}
	}
	for _, m := range e.Mounts {
		binds = append(binds, runtime.Bind{Source: m.HostPath, Target: m.ContainerPath, ReadOnly: slices.Contains(m.Options, "ro"), Origin: "--device"})
		if !isLibrary(m) {
			continue
		}
		if object, err := gpu.ReadFile(m.HostPath); err == nil && object.Name != "" {
			binds = append(binds, runtime.Bind{Source: m.HostPath, Target: path.Join(gpu.LibraryDir, object.Name), ReadOnly: true, Origin: "--device"})
		}
	}
	return binds
}

// convertYAML has flatrun-session read a file, as this program has no YAML parser.
func (c *container) convertYAML(file string) ([]byte, error) {
	var out bytes.Buffer
	err := c.callSession(&out, "json", file)
	return out.Bytes(), err
}
