package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/flatrun/flatrun/runtime"
	"github.com/flatrun/flatrun/runtime/gpu"
)

// addDrivers brings in the host's half of the GPU drivers that were asked for.
// A host without such a GPU is no reason for a word: job scripts say --nv
// wherever they run.
func (c *container) addDrivers(r *runtime.Request) error {
	o := c.options
	for _, driver := range []struct {
		on     bool
		flag   string
		vendor func() gpu.Vendor
	}{{o.NV && !o.NoNV, "--nv", gpu.NVIDIA}, {o.ROCm && !o.NoROCm, "--rocm", gpu.ROCm}} {
		if !driver.on {
			continue
		}
		vendor := driver.vendor()
		if !gpu.HasDevice(vendor, gpu.Places{}) {
			continue
		}
		host, err := gpu.Look(vendor, gpu.Places{})
		if err != nil {
			c.log.warnf("%s: %s", driver.flag, err)
			continue
		}
		selected := gpu.Select(vendor, host, gpu.LookInto(c.image.Root))
		if len(selected.TooNew) > 0 {
			c.once("%s: left out what needs glibc %s, which is newer than the image's: %s", driver.flag, selected.Needs, strings.Join(selected.TooNew, ", "))
		}
		c.drivers = c.drivers || len(selected.Libraries) > 0
		r.Binds = append(driverBinds(selected, driver.flag, o.Contain || r.MinimalDev), r.Binds...)
	}
	return nil
}

// addHabana brings in the devices of --intel-hpu, where the host's /dev is not there anyway.
func (c *container) addHabana(r *runtime.Request) error {
	if !c.options.IntelHPU || !c.options.Contain && !r.MinimalDev {
		return nil
	}
	visible := "all"
	for _, prefix := range []string{"SINGULARITYENV_", "APPTAINERENV_"} {
		if value, ok := c.lookupEnv(prefix + "HABANA_VISIBLE_DEVICES"); ok {
			visible = value
		}
	}
	for _, set := range c.options.Env {
		if set[0] == "HABANA_VISIBLE_DEVICES" {
			visible = set[1]
		}
	}
	for _, device := range gpu.Habana(visible, gpu.Places{}) {
		r.Binds = append(r.Binds, runtime.Bind{Source: device, Weak: true, Origin: "--intel-hpu"})
	}
	return nil
}

// once warns, unless this is one of many ranks that have the same to say.
func (c *container) once(format string, args ...any) {
	for _, name := range [...]string{"SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"} {
		if rank := c.getenv(name); rank != "" && rank != "0" {
			c.log.verbosef(format, args...)
			return
		}
	}
	c.log.warnf(format, args...)
}

// addLibraries brings in the libraries of --containlibs.
func (c *container) addLibraries(r *runtime.Request) error {
	var binds []runtime.Bind
	for _, name := range c.options.ContainLibs {
		file, err := filepath.Abs(name)
		if err == nil {
			_, err = os.Stat(file)
		}
		if err != nil {
			return fatal("--containlibs %s: %w", name, reason(err))
		}
		binds = append(binds, runtime.Bind{Source: file, Target: filepath.Join(gpu.LibraryDir, filepath.Base(file)), ReadOnly: true, Origin: "--containlibs"})
		c.drivers = true
	}
	r.Binds = append(binds, r.Binds...)
	return nil
}

// reason is the system's part of an error about a path.
func reason(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// driverBinds are placed before the user's binds, which may replace them.
func driverBinds(s gpu.Selection, flag string, contain bool) []runtime.Bind {
	var binds []runtime.Bind
	for _, list := range [][]gpu.Bind{s.Libraries, s.Programs, s.Files} {
		for _, b := range list {
			binds = append(binds, runtime.Bind{Source: b.Source, Target: b.Target, ReadOnly: true, Weak: true, Origin: flag})
		}
	}
	if contain { // otherwise the host's /dev is there
		for _, device := range s.Devices {
			binds = append(binds, runtime.Bind{Source: device, Weak: true, Origin: flag})
		}
	}
	return binds
}
