package session

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/fusefs"
	"github.com/flatrun/flatrun/mount/pack"
	"github.com/flatrun/flatrun/mount/prefetch"
)

// profiles is where start-up profiles are kept: with the cache, which outlives the session as they do.
func profiles(cacheDir string) prefetch.Profiles {
	return prefetch.Profiles(filepath.Join(cacheDir, "profiles"))
}

// lookAhead makes what fetches objects before they are asked for.
func (v *served) lookAhead(c caches) {
	cfg := prefetch.Config{
		Store: v.store, Has: v.has, Revision: v.repo.Head,
		NoReadAhead: !c.ahead.Readahead, NoLibraries: !c.ahead.Libraries, NoSiblings: !c.ahead.Siblings, Log: v.log,
	}
	if c.ahead.Profiles {
		cfg.Profiles = profiles(c.main.Dir())
	}
	v.ahead = prefetch.New(cfg)
}

func (v *served) has(o cas.Object) bool { return v.store.Has(o) || v.packs.Has(o) }

// openPacks makes the store of what start-up packs bring. It is the repository's own, below the cache that all share: what
// comes out of a pack is vouched for by the publisher, not by the names of the objects (see package pack). The files of packs
// themselves come by another store, as this one would wait for them.
func (v *served) openPacks(c caches) {
	v.packFiles = &cas.Remote{Cache: c.main, Lower: c.lower.Store(), Archives: c.lower.Archives, Main: v.main, Log: v.log}
	v.packs = pack.NewStore(pack.Config{
		Dir: filepath.Join(c.main.Dir(), "packs", v.settings.FQRN), Limit: c.limit / packShare,
		Fetch: v.packFiles, Read: v.packFiles.Read, Has: v.packFiles.Has, Below: c.lower.Store(), Log: v.log,
	})
	v.usePacks = c.ahead.Profiles
}

// packShare is the part of the cache's limit that the packs of a repository may have beside it.
const packShare = 8

// approach is told of a path that may be an image's, before any catalog below it was fetched. Where the repository has a
// pack for it, that is taken.
func (v *served) approach(ctx context.Context, image string) {
	if !v.usePacks || !v.first(image) {
		return
	}
	taken := v.packs.Take(ctx, v.repo.Head(), image, func() { v.ahead.Image(image, "") })
	if taken {
		v.ahead.Known(image)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.approached, image)
}

// start is told of an image that is about to run.
func (v *served) start(image string) {
	if v.first(image) {
		v.ahead.Image(image, "")
	}
}

// recorded tells whether there is a profile of the image, and its start has not begun: whoever starts it again does not have it
// looked up.
func (v *served) recorded(image string) bool {
	v.mu.Lock()
	again := v.approached[image]
	v.mu.Unlock()
	return !again && v.ahead.Recorded(image)
}

// first tells whether nothing was fetched ahead for the image so far.
func (v *served) first(image string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	again := v.approached[image]
	if v.approached == nil {
		v.approached = map[string]bool{}
	}
	v.approached[image] = true
	return !again
}

// reading tells it of a read that has to open an object.
func (v *served) reading(a fusefs.Access) (done func()) {
	return v.ahead.Reading(a.Path, a.Objects, a.Index)
}

type programKey struct{}

// withProgram says what will be run in the image that a request is about.
func withProgram(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, programKey{}, name)
}

// programOf is "" where it is not known.
func programOf(ctx context.Context) string {
	name, _ := ctx.Value(programKey{}).(string)
	return name
}

// searchPath is the PATH of an OCI image configuration, which may be missing.
func searchPath(config json.RawMessage) string {
	var c struct {
		Config struct{ Env []string } `json:"config"`
	}
	if json.Unmarshal(config, &c) == nil {
		for _, e := range c.Config.Env {
			if path, found := strings.CutPrefix(e, "PATH="); found {
				return path
			}
		}
	}
	return prefetch.DefaultPath
}
