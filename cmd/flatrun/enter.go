package main

import (
	"context"
	"errors"
	"io/fs"
	"os/exec"
	"strings"

	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/runtime"
	"github.com/flatrun/flatrun/runtime/image"
)

// enter gets into the namespaces; it may start a session and this program again.
func (c *container) enter() error {
	o := c.options
	needed := c.kind == image.Repository || len(c.unmounted()) > 0
	plan := enter.Plan{Join: needed || enter.IsRank() && !o.Fakeroot, Init: o.PID && !o.NoInit, Fakeroot: o.Fakeroot}
	for _, n := range []struct {
		on bool
		ns enter.Namespaces
	}{{o.PID, enter.PID}, {o.IPC, enter.IPC}, {o.UTS, enter.UTS}, {o.Net, enter.Net}} {
		if n.on {
			plan.New |= n.ns
		}
	}
	plan.Netns = o.NetnsPath
	plan.Grace = len(o.FUSEMount) > 0
	if o.Fakeroot {
		plan.UIDs, plan.GIDs = c.subordinateIDs()
	}
	if c.background != nil {
		c.background.plan(&plan)
	}
	if c.sharing != nil {
		c.sharing.plan(&plan)
	}
	start := enter.StartOptions{Config: c.config, Before: runtime.KeepSignals}
	state, err := enter.Ensure(context.Background(), plan, start)
	if err != nil && plan.Join && !needed {
		c.log.verbosef("No user namespace in common with other ranks or processes: %s", err)
		plan.Join = false
		state, err = enter.Ensure(context.Background(), plan, start)
	}
	if errors.Is(err, fs.ErrPermission) && o.NetnsPath != "" && strings.Contains(err.Error(), "network namespace") {
		return fatal("--netns-path %s: %w: it takes CAP_SYS_ADMIN there, which users have only in what their own user namespaces made: start %s from within", o.NetnsPath, err, strings.TrimSpace(c.name))
	}
	if err != nil && c.site != nil && c.site.UsernsMessage != "" && strings.Contains(err.Error(), "user namespace") {
		return fatal("%w: %s", err, c.site.UsernsMessage)
	}
	if err != nil {
		return err
	}
	c.state = state
	if c.sharing != nil {
		if err := c.sharing.entered(state); err != nil {
			return err
		}
	}
	if c.background != nil {
		if err := c.background.entered(); err != nil {
			return err
		}
	}
	if o.Fakeroot {
		c.noteFakeroot()
	}
	c.log.debugf("%s, image %s, new namespaces %#x", c.versionLine(), c.arg, uint32(state.New))
	return nil
}

// subordinateIDs are the maps of --fakeroot; none means that the caller's own id is all there is. After the plan was
// carried out the account cannot be asked any more, as the caller is root then.
func (c *container) subordinateIDs() (uids, gids []enter.IDMap) {
	if plan := enter.Current().Plan; plan != nil {
		return plan.UIDs, plan.GIDs
	}
	if c.options.IgnoreSubuid {
		return nil, nil
	}
	uids, gids, _ = enter.SubIDs() // noteFakeroot tells what is missing
	return uids, gids
}

// noteFakeroot tells a user who is root inside why he is nobody else there, in Apptainer's words.
func (c *container) noteFakeroot() {
	if enter.Mapped() > 1 || c.state.UID == 0 {
		return
	}
	plan := enter.Current().Plan
	_, err := exec.LookPath("newuidmap")
	switch {
	case plan != nil && plan.UIDs != nil:
		c.log.infof("The session was started without subordinate ids, using only root-mapped namespace: flatrun umount ends it")
	case err != nil && !c.options.IgnoreSubuid:
		c.log.infof("newuidmap was not found in PATH, trying root-mapped namespace")
	default:
		c.log.infof("User not listed in /etc/subuid, trying root-mapped namespace")
	}
}
