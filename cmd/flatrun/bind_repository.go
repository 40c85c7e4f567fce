package main

import (
	"slices"
	"strings"

	"github.com/flatrun/flatrun/mount/enter"
)

// unmounted are the repositories that binds show a part of and the host has not
// mounted: the session has to. With /cvmfs as a whole nothing is named.
func (c *container) unmounted() []string {
	var names []string
	for _, b := range c.binds {
		rest, ok := strings.CutPrefix(b.Source, "/cvmfs/")
		name, _, _ := strings.Cut(rest, "/")
		if ok && name != "" && !slices.Contains(names, name) && !enter.PlainDirectory("/cvmfs/"+name) {
			names = append(names, name)
		}
	}
	return names
}

// mountBinds has the session mount what binds need.
func (c *container) mountBinds() error {
	if c.state.Session == nil {
		return nil
	}
	for _, name := range c.unmounted() {
		if _, err := c.state.Session.Mount(name); err != nil {
			return fatal("bind of /cvmfs/%s: %w", name, err)
		}
	}
	return nil
}
