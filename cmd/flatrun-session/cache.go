package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/cmd/show"
	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/config"
	"github.com/flatrun/flatrun/mount/config/site"
)

// storage are the flags of cache and prefetch.
type storage struct {
	size     site.Size
	sized    bool
	repair   bool
	profile  bool
	into     string
	days     int // -1: not given
	dryRun   bool
	progress int
}

func (s *storage) define(set *flag.FlagSet) {
	set.Func("size", "bytes to leave in the cache", func(text string) (err error) {
		s.size, err = site.ParseSize(text)
		s.sized = true
		return err
	})
	set.IntVar(&s.days, "days", -1, "leave what was used within so many days")
	set.BoolVar(&s.dryRun, "dry-run", false, "only tell")
	set.BoolVar(&s.repair, "repair", false, "move away what is wrong")
	set.BoolVar(&s.profile, "profile", false, "only what the recorded start touched")
	set.StringVar(&s.into, "into", "", "cache directory to fill")
	set.IntVar(&s.progress, "progress", 2, "descriptor to show progress on")
}

// runCache looks at the cache of objects, or changes it.
func runCache(ctx context.Context, c *call) error {
	settings, err := c.settings()
	if err != nil {
		return err
	}
	verb, operand := c.args[0], ""
	if len(c.args) > 1 {
		operand = c.args[1]
	}
	run, ok := map[string]func(context.Context, *call, *config.Config, string) error{
		"info": cacheInfo, "list": cacheList, "clean": cacheClean, "verify": cacheVerify, "export": cacheExport, "import": cacheImport,
	}[verb]
	switch wantsFile := verb == "export" || verb == "import"; {
	case !ok:
		return fmt.Errorf("usage: flatrun cache info | list [PATTERN] | clean | verify | export FILE | import FILE; there is no cache %s", verb)
	case wantsFile && operand == "":
		return fmt.Errorf("usage: flatrun cache %s FILE", verb)
	case operand != "" && !wantsFile && verb != "list":
		return fmt.Errorf("flatrun cache %s takes no %q", verb, operand)
	}
	return run(ctx, c, settings, operand)
}

// lookAt opens the cache for reading; nil where there is none yet.
func lookAt(settings *config.Config) (*cas.Cache, error) {
	c, err := cas.OpenCache(cas.CacheConfig{Dir: settings.Cache.Dir, ReadOnly: true})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return c, err
}

func change(settings *config.Config) (*cas.Cache, error) {
	s := settings.Cache
	return cas.OpenCache(cas.CacheConfig{Dir: s.Dir, Limit: int64(s.Limit), Shared: s.Shared})
}

// cacheReport is what cache info --json prints.
type cacheReport struct {
	Dir           string       `json:"dir"`
	Bytes         int64        `json:"bytes"`
	Objects       int64        `json:"objects"`
	Limit         int64        `json:"limit"` // 0 is none
	Shared        bool         `json:"shared"`
	PinnedBytes   int64        `json:"pinned_bytes"`
	PinnedObjects int64        `json:"pinned_objects"`
	FirstUsed     *time.Time   `json:"first_used,omitempty"` // the least recent use
	LastUsed      *time.Time   `json:"last_used,omitempty"`
	DiskFree      uint64       `json:"disk_free"`
	DiskSize      uint64       `json:"disk_size"`
	Repositories  []headReport `json:"repositories"`
	Packs         []packReport `json:"packs"`    // what start-up packs brought, beside the limit
	Profiles      int          `json:"profiles"` // of starts that were recorded
	Lower         []tierReport `json:"lower"`
}

type headReport struct {
	FQRN      string    `json:"fqrn"`
	Revision  uint64    `json:"revision"`
	Published time.Time `json:"published"`
	Root      string    `json:"root_hash"`
}

type tierReport struct {
	Path    string `json:"path"`
	Kind    string `json:"kind"` // directory, archive
	Bytes   int64  `json:"bytes"`
	Objects int64  `json:"objects"`
	Error   string `json:"error,omitempty"`
}

func cacheInfo(ctx context.Context, c *call, settings *config.Config, _ string) error {
	r := cacheReport{Dir: settings.Cache.Dir, Limit: int64(settings.Cache.Limit), Shared: settings.Cache.Shared, Repositories: []headReport{}, Packs: []packReport{}, Lower: []tierReport{}}
	cache, err := lookAt(settings)
	if err != nil {
		return err
	}
	if cache != nil {
		if err := errors.Join(r.count(ctx, cache), r.countBeside(ctx)); err != nil {
			return err
		}
	}
	for _, path := range settings.Cache.Lower {
		r.Lower = append(r.Lower, describeTier(path))
	}
	if c.json {
		return printJSON(r)
	}
	_, err = io.WriteString(os.Stdout, r.text())
	return err
}

func (r *cacheReport) count(ctx context.Context, cache *cas.Cache) error {
	var disk unix.Statfs_t
	if err := unix.Statfs(cache.Dir(), &disk); err == nil {
		r.DiskFree, r.DiskSize = disk.Bavail*uint64(disk.Bsize), disk.Blocks*uint64(disk.Bsize)
	}
	for _, n := range cache.Breadcrumbs() {
		r.Repositories = append(r.Repositories, headReport{n.FQRN, n.Revision, time.Unix(n.Timestamp, 0).UTC(), n.Root.String()})
	}
	return cache.List(ctx, func(e cas.Entry) error {
		r.Objects, r.Bytes = r.Objects+1, r.Bytes+e.Size
		if e.Pinned {
			r.PinnedObjects, r.PinnedBytes = r.PinnedObjects+1, r.PinnedBytes+e.Size
		}
		if r.FirstUsed == nil || e.Used.Before(*r.FirstUsed) {
			r.FirstUsed = &e.Used
		}
		if r.LastUsed == nil || e.Used.After(*r.LastUsed) {
			r.LastUsed = &e.Used
		}
		return nil
	})
}

func describeTier(path string) tierReport {
	r := tierReport{Path: path, Kind: "directory"}
	l, leftOut := cas.OpenLower([]string{path}, nil)
	for _, err := range leftOut {
		r.Error = err.Error()
	}
	defer l.Close()
	var err error
	for _, d := range l.Dirs {
		if r.Bytes, r.Objects, err = d.Usage(); err != nil {
			r.Error = err.Error()
		}
	}
	for _, a := range l.Archives {
		r.Kind = "archive"
		r.Bytes, r.Objects = a.Usage()
	}
	return r
}

func (r *cacheReport) text() string {
	var b strings.Builder
	limit := limitText(r.Limit)
	if r.Shared {
		limit = "shared, so without a limit"
	}
	fmt.Fprintf(&b, "cache       %s\nobjects     %d, %s, %s\n", r.Dir, r.Objects, show.Size(r.Bytes), limit)
	if r.PinnedObjects > 0 {
		fmt.Fprintf(&b, "pinned      %d (catalogs), %s\n", r.PinnedObjects, show.Size(r.PinnedBytes))
	}
	if r.FirstUsed != nil {
		fmt.Fprintf(&b, "last used   between %s and %s\n", r.FirstUsed.Local().Format(time.DateTime), r.LastUsed.Local().Format(time.DateTime))
	}
	if r.DiskSize > 0 {
		fmt.Fprintf(&b, "disk        %s free of %s\n", show.Size(int64(r.DiskFree)), show.Size(int64(r.DiskSize)))
	}
	for _, h := range r.Repositories {
		fmt.Fprintf(&b, "repository  %s revision %d of %s\n", h.FQRN, h.Revision, h.Published.Local().Format(time.DateTime))
	}
	for _, p := range r.Packs {
		fmt.Fprintf(&b, "packs       of %s: %d objects, %s, %s\n", p.FQRN, p.Objects, show.Size(p.Bytes), limitText(p.Limit))
	}
	if r.Profiles > 0 {
		fmt.Fprintf(&b, "profiles    of %d images\n", r.Profiles)
	}
	for _, t := range r.Lower {
		if t.Error != "" {
			fmt.Fprintf(&b, "lower       %s\n", t.Error)
			continue
		}
		fmt.Fprintf(&b, "lower       %s (%s): %d objects, %s\n", t.Path, t.Kind, t.Objects, show.Size(t.Bytes))
	}
	return b.String()
}

func limitText(limit int64) string {
	if limit > 0 {
		return "of " + show.Size(limit)
	}
	return "no limit"
}

// listed is an object in cache list --json.
type listed struct {
	Hash    string    `json:"hash"`
	Bytes   int64     `json:"bytes"`
	Created time.Time `json:"created"`
	Used    time.Time `json:"used"`
	Pinned  bool      `json:"pinned"`
}

// cacheList prints the objects whose hash matches the pattern, or begins with it.
func cacheList(ctx context.Context, c *call, settings *config.Config, pattern string) error {
	if _, err := path.Match(pattern, ""); err != nil {
		return fmt.Errorf("pattern %q: %w", pattern, err)
	}
	cache, err := lookAt(settings)
	if err != nil {
		return err
	}
	all := []listed{}
	if cache != nil {
		err = cache.List(ctx, func(e cas.Entry) error {
			hash := e.Hash.String()
			if match, _ := path.Match(pattern, hash); match || strings.HasPrefix(hash, pattern) {
				all = append(all, listed{hash, e.Size, e.Created, e.Used, e.Pinned})
			}
			return nil
		})
	}
	if err != nil {
		return err
	}
	if c.json {
		return json.NewEncoder(os.Stdout).Encode(all)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, e := range all {
		pinned := ""
		if e.Pinned {
			pinned = "pinned"
		}
		fmt.Fprintf(w, "%s\t%12d\t%s\t%s\n", e.Hash, e.Bytes, e.Used.Local().Format(time.DateTime), pinned)
	}
	return w.Flush()
}
