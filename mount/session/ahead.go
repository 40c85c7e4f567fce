package session

import (
	"path/filepath"

	"github.com/flatrun/flatrun/mount/config"
	"github.com/flatrun/flatrun/mount/fusefs"
	"github.com/flatrun/flatrun/mount/prefetch"
)

// profiles is where start-up profiles are kept: with the cache, which outlives the session as they do.
func profiles(cacheDir string) prefetch.Profiles {
	return prefetch.Profiles(filepath.Join(cacheDir, "profiles"))
}

// lookAhead makes what fetches objects before they are asked for.
func (v *served) lookAhead(c caches, allowed config.Prefetch) {
	cfg := prefetch.Config{
		Store: v.store, Has: v.store.Has, Revision: v.repo.Head,
		NoReadAhead: !allowed.Readahead, NoLibraries: !allowed.Libraries, NoSiblings: !allowed.Siblings, Log: v.log,
	}
	if allowed.Profiles {
		cfg.Profiles = profiles(c.main.Dir())
	}
	v.ahead = prefetch.New(cfg)
}

// reading tells it of a read that has to open an object.
func (v *served) reading(a fusefs.Access) (done func()) {
	return v.ahead.Reading(a.Path, a.Objects, a.Index)
}
