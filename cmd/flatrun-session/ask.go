package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/mount/session"
)

// runStatus prints all sessions and mounts as JSON; flatrun status makes the same readable.
func runStatus(context.Context, *call) error {
	all, err := session.List()
	if err != nil {
		return err
	}
	if all == nil {
		all = []enter.Status{}
	}
	return printJSON(all)
}

func printJSON(v any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// runUmount takes a mount away by its directory, or a repository by its name from where mount put it, else from the
// session of this configuration. With --all all mounts and sessions end, those in use only with --force.
func runUmount(_ context.Context, c *call) error {
	if c.all {
		return umountAll(c.force)
	}
	if len(c.args) == 0 {
		return errors.New("usage: flatrun-session umount DIR|FQRN, or --all")
	}
	name := c.args[0]
	dir, err := filepath.Abs(name)
	if err != nil {
		return err
	}
	usual, err := session.DefaultMountpoint(name)
	if err != nil {
		return err
	}
	all, err := session.List()
	if err != nil {
		return err
	}
	for _, s := range all {
		for _, m := range s.Mounts {
			if s.Host && (m.Mountpath == dir || m.Mountpath == usual) {
				return umountHost(s, m.Mountpath)
			}
		}
	}
	if !strings.Contains(name, "/") && strings.Contains(name, ".") {
		return umountInSession(name, c.config)
	}
	// A server that was killed leaves a mount that answers nothing; fusermount3 can take it away.
	return fusermount(dir)
}

func umountAll(force bool) error {
	all, err := session.List()
	if err != nil {
		return err
	}
	var failed []error
	for _, s := range all {
		if s.Hung != "" {
			failed = append(failed, fmt.Errorf("%s: %s", s.Key, s.Hung))
			continue
		}
		if s.Host {
			failed = append(failed, umountHost(s, s.Mounts[0].Mountpath))
			continue
		}
		client, err := enter.Dial(s.Dir)
		if err != nil {
			continue // just ended
		}
		process, _ := unix.PidfdOpen(s.PID, 0) // -1 if it just ended
		if err := client.Quit(force); err != nil {
			failed = append(failed, fmt.Errorf("session %s: %w", s.Key, err))
		} else {
			failed = append(failed, errors.Join(waitGone(s, 20*time.Second), waitEnded(process, s, 20*time.Second)))
		}
		client.Close()
		unix.Close(process)
	}
	return errors.Join(failed...)
}

// waitGone returns when the socket of a session or mount that is ending has gone.
func waitGone(s enter.Status, patience time.Duration) error {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		client, err := enter.Dial(s.Dir)
		if err != nil {
			return nil
		}
		client.Close()
	}
	return fmt.Errorf("%s: process %d does not end", s.Key, s.PID)
}

// waitEnded returns when the process of a session has ended, which still writes into its cache what it was fetching when the
// socket has gone.
func waitEnded(process int, s enter.Status, patience time.Duration) error {
	ready := []unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}
	for end := time.Now().Add(patience); process >= 0; {
		n, err := unix.Poll(ready, int(max(time.Until(end), 0).Milliseconds()))
		switch {
		case n == 0 && err == nil:
			return fmt.Errorf("%s: process %d does not end", s.Key, s.PID)
		case err != unix.EINTR:
			return nil
		}
	}
	return nil
}

// umountHost returns when the server has gone, or stays although the mount is gone here: where the site keeps mounts
// private, sessions and containers that started meanwhile have copies of it, and the server ends with the last of them.
func umountHost(s enter.Status, dir string) error {
	if err := fusermount(dir); err != nil {
		return err
	}
	waitGone(s, 3*time.Second)
	return nil
}

func fusermount(dir string) error {
	for _, tool := range []string{"fusermount3", "fusermount"} {
		path, err := exec.LookPath(tool)
		if err != nil {
			continue
		}
		out, err := exec.Command(path, "-u", dir).CombinedOutput()
		if err != nil {
			return fmt.Errorf("umount %s: %s", dir, strings.TrimSpace(string(out)))
		}
		return nil
	}
	return fmt.Errorf("umount %s: no fusermount3 on PATH (package fuse3)", dir)
}

func umountInSession(fqrn, config string) error {
	client, err := currentSession(config)
	if err != nil {
		return fmt.Errorf("umount %s: it is not mounted", fqrn)
	}
	defer client.Close()
	return client.Unmount(fqrn)
}

func currentSession(config string) (*enter.Session, error) {
	dir, err := enter.SessionDir(config)
	if err != nil {
		return nil, err
	}
	return enter.Dial(dir)
}

// runResolve tells where an image lies, starting a session like exec would. It is for finding out what exec does.
func runResolve(_ context.Context, c *call) error {
	client, err := currentSession(c.config)
	if err != nil {
		return err
	}
	defer client.Close()
	r, err := client.Resolve(c.args[0])
	if err != nil {
		return err
	}
	return printJSON(r)
}

func runConfig(_ context.Context, c *call) error {
	if c.args[0] != "show" {
		return errors.New("usage: flatrun-session config show [FQRN]")
	}
	settings, err := c.settings()
	if err != nil {
		return err
	}
	if len(c.args) == 1 {
		return settings.Explain(os.Stdout)
	}
	r, err := settings.Repository(c.args[1])
	if err != nil {
		return err
	}
	return r.Explain(os.Stdout)
}
