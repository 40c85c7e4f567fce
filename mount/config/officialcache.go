package config

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/config/site"
)

// The official client's cache belongs to a user of its own, ours to each user, so most of its parameters mean nothing here:
// CVMFS_CACHE_BASE, CVMFS_QUOTA_LIMIT, CVMFS_SHARED_CACHE, CVMFS_WORKSPACE and CVMFS_RELOAD_SOCKETS are not looked at. What a
// site says about tiers does: where objects are that somebody else has fetched, and that a node keeps its own in memory.
//
//	CVMFS_ALIEN_CACHE=DIR              DIR is a tier below ours
//	CVMFS_CACHE_PRIMARY=NAME           the instance to use, in place of the above
//	CVMFS_CACHE_NAME_TYPE=tiered       _UPPER takes the place of ours, _LOWER is a tier below
//	CVMFS_CACHE_NAME_TYPE=ram          ours is in /dev/shm, with _SIZE as its limit
//	CVMFS_CACHE_NAME_TYPE=posix        the primary or upper one: _QUOTA_LIMIT is our limit; _ALIEN is a tier below ours.
//	                                   A lower one: _ALIEN, _DIR, or _BASE/shared is a tier below ours
//	CVMFS_CACHE_NAME_TYPE=external     not supported, with a warning
//
// What our own files and the environment say about the cache goes before all of it.

// cacheDepth bounds tiers of tiers.
const cacheDepth = 8

// officialCache takes what the official files say about caches.
func (c *Config) officialCache() {
	p := &cacheParameters{official: c.official("")}
	if primary, _, ok := p.get("CVMFS_CACHE_PRIMARY"); ok {
		p.instance(primary, true, cacheDepth)
	} else if dir, origin, ok := p.get("CVMFS_ALIEN_CACHE"); ok {
		p.below(dir, origin)
	}
	c.Warnings = append(c.Warnings, p.warnings...)
	if len(p.lower) > 0 && c.origins["cache.lower"] == "" {
		c.Cache.Lower, c.origins["cache.lower"] = p.lower, p.lowerOrigin
	}
	if p.ram && c.origins["cache.dir"] == "" {
		c.Cache.Dir, c.origins["cache.dir"] = fmt.Sprintf("%s/flatrun-%d", sharedMemory, os.Getuid()), p.upperOrigin
	}
	if p.limit > 0 && c.origins["cache.limit"] == "" {
		c.Cache.Limit, c.origins["cache.limit"] = p.limit, p.upperOrigin
	}
}

const sharedMemory = "/dev/shm"

// cacheParameters is what they come down to here.
type cacheParameters struct {
	*official
	ram         bool
	limit       site.Size // 0 for none given
	upperOrigin string
	lower       []string
	lowerOrigin string
	warnings    []string
}

// get answers a parameter that is set to something known.
func (p *cacheParameters) get(name string) (value, origin string, ok bool) {
	v := p.vars[name]
	value = strings.TrimSpace(v.Value)
	return value, v.Origin.String(), value != "" && v.Unknown == ""
}

func (p *cacheParameters) warn(origin, format string, args ...any) {
	p.warnings = append(p.warnings, origin+": "+fmt.Sprintf(format, args...))
}

// instance takes one cache manager, which is in the place of ours or below it.
func (p *cacheParameters) instance(name string, ours bool, depth int) {
	prefix := "CVMFS_CACHE_" + name + "_"
	kind, origin, _ := p.get(prefix + "TYPE")
	_, where, _ := p.get("CVMFS_CACHE_PRIMARY")
	switch {
	case depth == 0:
		p.warn(where, "CVMFS_CACHE_%s: too many tiers, or tiers of themselves", name)
	case kind == "tiered":
		p.tiers(prefix, origin, ours, depth)
	case kind == "ram" && ours:
		p.ram, p.upperOrigin = true, origin
		p.setLimit(prefix+"SIZE", true)
	case kind == "ram":
		p.warn(origin, "%sTYPE=ram: memory below another cache is of no use here and left out", prefix)
	case kind == "posix":
		p.posix(prefix, ours)
	case kind == "external":
		p.warn(origin, "%sTYPE=external: cache plug-ins are not supported; objects are kept in cache.dir", prefix)
	case kind == "":
		p.warn(where, "cache %s has no %sTYPE and is left out", name, prefix)
	default:
		p.warn(origin, "%sTYPE=%s: not known; want posix, ram or tiered", prefix, kind)
	}
}

func (p *cacheParameters) tiers(prefix, origin string, ours bool, depth int) {
	upper, _, okUpper := p.get(prefix + "UPPER")
	lower, _, okLower := p.get(prefix + "LOWER")
	if !okUpper || !okLower {
		p.warn(origin, "%sTYPE=tiered: want %[1]sUPPER and %[1]sLOWER", prefix)
	}
	if okUpper {
		p.instance(upper, ours, depth-1)
	}
	if !okLower {
		return
	}
	p.instance(lower, false, depth-1)
	if text, at, ok := p.get(prefix + "LOWER_READONLY"); ok {
		if readOnly, err := parseBool(text); err == nil && readOnly {
			return
		}
		p.warn(at, "%sLOWER_READONLY=%s: tiers below are only read here", prefix, text)
	}
}

func (p *cacheParameters) posix(prefix string, ours bool) {
	if dir, origin, ok := p.get(prefix + "ALIEN"); ok {
		p.below(dir, origin)
		return
	}
	if ours {
		p.setLimit(prefix+"QUOTA_LIMIT", false)
		return
	}
	if dir, origin, ok := p.get(prefix + "DIR"); ok {
		p.below(dir, origin)
	} else if dir, origin, ok := p.get(prefix + "BASE"); ok {
		p.below(filepath.Join(dir, "shared"), origin)
	}
}

// below adds a tier that can be read. Another node of the site, or a login node, may lack it.
func (p *cacheParameters) below(dir, origin string) {
	dir = p.rooted(dir)
	info, err := os.Stat(dir)
	if err == nil && info.IsDir() {
		err = unix.Access(dir, unix.R_OK|unix.X_OK)
	} else if err == nil {
		err = unix.ENOTDIR
	}
	switch {
	case err == nil:
		p.lower, p.lowerOrigin = append(p.lower, dir), origin
	case !errors.Is(err, unix.ENOENT):
		p.warn(origin, "cache %s is not used: %v", dir, err)
	default:
		p.warn(origin, "cache %s is not there and not used", dir)
	}
}

// setLimit takes a number of megabytes, and where percent is true a part of the memory. Negative is without a limit.
func (p *cacheParameters) setLimit(name string, percent bool) {
	text, origin, ok := p.get(name)
	if !ok {
		return
	}
	number, isPart := strings.CutSuffix(text, "%")
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if isPart && percent && err == nil {
		var memory unix.Sysinfo_t
		err = unix.Sysinfo(&memory)
		n *= float64(memory.Totalram) * float64(memory.Unit) / 100
	} else {
		n *= 1 << 20
	}
	if err != nil || math.IsNaN(n) || n > 1<<60 || isPart && !percent {
		p.warn(origin, "%s=%s: want a number of megabytes", name, text)
		return
	}
	if n > 0 {
		p.limit, p.upperOrigin = site.Size(n), origin
	}
}
