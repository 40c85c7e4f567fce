package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/flatrun/flatrun/cmd/show"
	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/config"
	"github.com/flatrun/flatrun/mount/probe"
)

// runDoctor prints, for flatrun doctor, the rows about what the configuration names.
func runDoctor(_ context.Context, c *call) error {
	settings, err := c.settings()
	if err != nil {
		return printJSON([]probe.Result{{Name: "configuration", State: probe.Failed, Required: true, Reason: err.Error(),
			Advice: "correct it, or name another file with --config or FLATRUN_CONFIG"}})
	}
	rows := []probe.Result{{Name: "configuration", State: probe.OK, Detail: "no file of ours, what is built in"}}
	if len(settings.Files) > 0 {
		rows[0].Detail = strings.Join(settings.Files, ", ")
	}
	for _, w := range settings.Warnings {
		rows = append(rows, probe.Result{Name: "configuration", State: probe.Warning, Reason: w,
			Advice: "correct what it names; flatrun config show tells what holds"})
	}
	rows = append(rows, probeCache(settings.Cache))
	for _, path := range settings.Cache.Lower {
		rows = append(rows, probeLower(path, settings.Origin("cache.lower")))
	}
	return printJSON(rows)
}

func probeCache(c config.Cache) probe.Result {
	r := probe.Cache(c.Dir)
	if c.Shared {
		r.Detail += ", shared with other users or nodes"
	}
	return r
}

// maxHeads is how many repositories of a tier are named.
const maxHeads = 4

// probeLower looks at a tier below the cache. One that cannot be used is left out by sessions, which costs only time, so it
// is no failure; and nobody notices but here and in flatrun status.
func probeLower(path, origin string) probe.Result {
	r := probe.Result{Name: "lower cache", State: probe.OK}
	elsewhere := fmt.Sprintf("; or take it out of cache.lower (%s)", origin)
	lower, leftOut := cas.OpenLower([]string{path}, nil)
	defer lower.Close()
	err := errors.Join(leftOut...)
	for _, d := range lower.Dirs {
		err = readObjects(d.Dir())
	}
	switch on := probe.FileSystem(path); {
	case err == nil && len(lower.Archives) > 0:
		bytes, objects := lower.Archives[0].Usage()
		r.Detail = fmt.Sprintf("%s, archive of %d objects, %s, on %s", path, objects, show.Size(bytes), on)
	case err == nil:
		r.Detail = fmt.Sprintf("%s, directory on %s", path, on)
	default:
		r.State, r.Detail, r.Reason = probe.Warning, path, err.Error()
	}
	for i, crumb := range lower.Breadcrumbs() {
		if i == maxHeads {
			r.Detail += ", …"
			break
		}
		r.Detail += fmt.Sprintf(", %s revision %d", crumb.FQRN, crumb.Revision)
	}
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		r.Advice = "mount its file system on this node, or make it: flatrun prefetch --into, flatrun cache export" + elsewhere
	case errors.Is(err, fs.ErrPermission):
		r.Advice = "let its users read it: chmod -R go+rX, and x on each directory above" + elsewhere
	case errors.Is(err, cas.ErrCorrupt):
		r.Advice = "copy or export it again: flatrun cache export" + elsewhere
	case errors.Is(err, errNoObjects):
		r.Advice = "name the directory that has 00 to ff; an official client's is shared, or a repository's name, in CVMFS_CACHE_BASE" + elsewhere
	default:
		r.Advice = "see to it" + elsewhere
	}
	return r
}

// errNoObjects means that a directory is not laid out as a cache is.
var errNoObjects = errors.New("it has no directories of objects")

var hashDir = regexp.MustCompile("^[0-9a-f]{2}$")

// readObjects tells whether the directory is a cache that this user can read, by the first object of it. That the directory
// can be listed says little: an official client keeps its objects for itself.
func readObjects(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	err = errNoObjects
	for _, e := range entries {
		if !hashDir.MatchString(e.Name()) {
			continue
		}
		within, failed := os.ReadDir(filepath.Join(dir, e.Name()))
		if failed != nil {
			return failed
		}
		if err = nil; len(within) > 0 {
			f, failed := os.Open(filepath.Join(dir, e.Name(), within[0].Name()))
			if failed != nil {
				return failed
			}
			return f.Close()
		}
	}
	return err
}
