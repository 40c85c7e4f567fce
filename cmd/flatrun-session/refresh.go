package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/mount/session"
)

// runRefresh makes the user's sessions and mounts look for new revisions: of all repositories, of one, or of that at one
// mount point. It prints a line for each of them.
func runRefresh(_ context.Context, c *call) error {
	name, dir := "", ""
	if len(c.args) > 0 {
		name = c.args[0]
		var err error
		if dir, err = filepath.Abs(name); err != nil {
			return err
		}
	}
	all, err := session.List()
	if err != nil {
		return err
	}
	var failed []error
	found := name == ""
	for _, s := range all {
		if s.Hung != "" {
			failed = append(failed, fmt.Errorf("%s: %s", s.Key, s.Hung))
		}
		for _, m := range s.Mounts {
			if name == "" || m.FQRN == name || m.Mountpath == dir {
				found = true
				failed = append(failed, refresh(s, m))
			}
		}
	}
	if len(all) == 0 && found {
		fmt.Println("no session is running and no repository is mounted")
	}
	if !found {
		return fmt.Errorf("neither a session nor flatrun mount shows %s; see flatrun status", name)
	}
	return errors.Join(failed...)
}

func refresh(s enter.Status, before enter.MountStatus) error {
	client, err := enter.Dial(s.Dir)
	if err != nil {
		return nil // just ended
	}
	defer client.Close()
	if err := client.Refresh(before.FQRN); err != nil {
		return err
	}
	status, err := client.Status()
	if err != nil {
		return err
	}
	for _, m := range status.Mounts {
		switch {
		case m.FQRN != before.FQRN:
		case m.RootHash == before.RootHash:
			fmt.Printf("%s: revision %d as before, at %s\n", m.FQRN, m.Revision, m.Mountpath)
		default:
			fmt.Printf("%s: revision %d, was %d, at %s\n", m.FQRN, m.Revision, before.Revision, m.Mountpath)
		}
	}
	return nil
}
