package repo_test

import (
	"errors"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/mount/repotest"
)

// The clock jumps while a repository is mounted. Beyond the whitelist's end what was verified stays as it is, says why, and
// takes nothing new; a clock that is right again, or far back, gets the new revision.
func TestClockJumps(t *testing.T) {
	for name, jump := range map[string]time.Duration{"forward": 20 * 365 * 24 * time.Hour, "back": -20 * 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			r := repotest.Build(t, repotest.Spec{Tree: tree()})
			cfg := r.Config(t)
			var jumped time.Duration
			cfg.Now = func() time.Time { return time.Now().Add(jumped) }
			o := repotest.Open(t, cfg)
			jumped = jump
			r.Publish(t, repotest.Rev{Tree: append(tree(), repotest.File{Path: "/new", Content: "new"})})
			changed, err := o.Refresh(t.Context())
			offline, why := o.Offline()
			if name == "forward" {
				if changed || !errors.Is(err, repo.ErrExpired) || !offline || !errors.Is(why, repo.ErrExpired) {
					t.Errorf("changed %v, %v; offline %v, %v", changed, err, offline, why)
				}
				if got := text(t, o.Head(), "/new"); got != "(absent)" {
					t.Errorf("a revision that nobody vouches for shows: %q", got)
				}
				jumped = 0
				changed, err = o.Refresh(t.Context())
				offline, why = o.Offline()
			}
			if !changed || err != nil || offline || text(t, o.Head(), "/new") != "new" {
				t.Errorf("changed %v, %v; offline %v, %v", changed, err, offline, why)
			}
		})
	}
}
