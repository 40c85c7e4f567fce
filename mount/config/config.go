// Package config merges the CVMFS client's configuration files and ours, each value with its origin.
//
// Our files are YAML: /etc/flatrun/config.yaml, then the user's
// flatrun/config.yaml below $XDG_CONFIG_HOME (or ~/.config); --config or
// $FLATRUN_CONFIG names one file to read instead of both. Later files win key by
// key, and environment variables (see Overrides) win over all files. Keys that
// do not exist are errors.
//
// What a repository needs is found in four steps, later ones winning:
// built-in values; the official files below /etc/cvmfs in the official order;
// the section "network" of our files; the repository's own section.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/flatrun/flatrun/mount/config/site"
	"github.com/flatrun/flatrun/unpacked"
)

// Options say where to look. The zero value is the running system.
type Options struct {
	File string                   // the value of --config; "" = $FLATRUN_CONFIG, else the files of site and user
	Env  func(name string) string // nil = os.Getenv
	Root string                   // directory to look for /etc/flatrun, /etc/cvmfs and /cvmfs in; "" = "/"
}

// Config is the merged configuration.
type Config struct {
	// Repositories are the sections as our files have them. Use the method
	// Repository for a repository with all that is known about it.
	Repositories map[string]*Repository `json:"repositories"`
	Network      Network                `json:"network"`
	Cache        Cache                  `json:"cache"`
	Session      Session                `json:"session"`
	Images       Images                 `json:"images"`
	Prefetch     Prefetch               `json:"prefetch"`
	Runtime      site.Runtime           `json:"runtime"`
	// Native prefers a repository that the site has mounted at /cvmfs over a
	// mount of our own.
	Native bool `json:"native"`
	// CVMFSDir is where the official client's files are.
	CVMFSDir string `json:"cvmfs_dir" path:"yes" expand:"env"`

	Files    []string `json:"-"` // ours that were read, in order
	Warnings []string `json:"-"`

	options  Options
	stamps   []stamp // of our files
	env      func(string) string
	root     string
	origins  map[string]string    // by key, "cache.dir"
	network  []section            // of each file that has one
	sections map[string][]section // of each repository
}

// Cache is the cache of objects on the local disk.
type Cache struct {
	// Dir is shared by all processes of the user. The default is outside of the
	// home directory, which is often on a shared file system with a small quota.
	Dir   string    `json:"dir" path:"yes" expand:"env"`
	Limit site.Size `json:"limit"` // 0 = unlimited
	// Shared marks Dir as a cache that several users or nodes write: its files
	// belong to the group too, and nobody keeps a limit.
	Shared bool `json:"shared"`
	// Lower are caches that somebody else fills, directories or files of "cache
	// export"; they are only read, in this order and before the network.
	Lower []string `json:"lower" sep:":" path:"yes" expand:"env"`
}

// Session is the life of the process that holds the mounts.
type Session struct {
	Idle time.Duration `json:"idle"` // how long it outlives its last user
	// Metrics is where its state can be had in the text format of Prometheus:
	// unix:PATH or tcp:HOST:PORT, "" for nowhere.
	Metrics string `json:"metrics" expand:"env"`
}

// Images is how bare image names are looked up.
type Images struct {
	DefaultRegistry string `json:"default_registry"` // of names without one
	// Search are the repositories to look in, in order. The default is all that
	// have a section in our files, and unpacked.cern.ch where its servers are
	// known.
	Search []string `json:"search" sep:","`
}

// Prefetch says what may be fetched before it is asked for.
type Prefetch struct {
	Libraries bool `json:"libraries"` // what a program's dynamic section names
	Siblings  bool `json:"siblings"`  // files beside one that was opened
	Profiles  bool `json:"profiles"`  // what an image's last start touched
	Readahead bool `json:"readahead"` // the chunks after one that was read
}

// builtIn is the origin of defaults.
const builtIn = "built in"

// Load reads and merges everything but what belongs to single repositories.
// All faults of our files are reported together, each with file and line.
func Load(o Options) (*Config, error) {
	c := &Config{
		Session: Session{Idle: time.Minute},
		Cache:   Cache{Limit: 20e9},
		Images:  Images{DefaultRegistry: unpacked.DockerHub},
		Prefetch: Prefetch{
			Libraries: true, Siblings: true, Profiles: true, Readahead: true,
		},
		Runtime:      site.Default(),
		Native:       true,
		Repositories: make(map[string]*Repository),
		options:      o, env: o.Env, root: o.Root,
		origins:  make(map[string]string),
		sections: make(map[string][]section),
	}
	if c.env == nil {
		c.env = os.Getenv
	}
	c.CVMFSDir = filepath.Join("/", c.root, "etc/cvmfs")
	c.Cache.Dir = site.CacheDir(func(string) string { return "" }, os.Getuid())
	if err := c.readFiles(o.File); err != nil {
		return nil, err
	}
	if err := c.override(); err != nil {
		return nil, err
	}
	c.derive()
	return c, c.check()
}

// derive sets what follows from the rest where nobody has said otherwise.
func (c *Config) derive() {
	if c.origins["images.search"] == "" {
		c.Images.Search = slices.Sorted(maps.Keys(c.Repositories))
		const unpackedCERN = "unpacked.cern.ch"
		_, served := c.official(unpackedCERN).known("CVMFS_SERVER_URL")
		if served && !slices.Contains(c.Images.Search, unpackedCERN) {
			c.Images.Search = append(c.Images.Search, unpackedCERN)
		}
	}
	c.officialCache()
}

func (c *Config) readFiles(file string) error {
	if file == "" {
		file = c.env("FLATRUN_CONFIG")
	}
	if file != "" {
		c.stamps = []stamp{stampOf(file)}
		return c.readFile(file)
	}
	for _, file := range c.searched() {
		c.stamps = append(c.stamps, stampOf(file))
	}
	var faults []error
	for _, file := range c.searched() {
		if err := c.readFile(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// searched are the files to read where none is named.
func (c *Config) searched() []string {
	files := []string{filepath.Join("/", c.root, "etc/flatrun/config.yaml")}
	// A relative $XDG_CONFIG_HOME is to be ignored, says its specification.
	if dir := c.env("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return append(files, filepath.Join(dir, "flatrun/config.yaml"))
	}
	if home := c.env("HOME"); filepath.IsAbs(home) {
		files = append(files, filepath.Join(home, ".config/flatrun/config.yaml"))
	}
	return files
}

// stamp tells whether a file is what it was.
type stamp struct {
	file    string
	changed time.Time // zero where it is not there
	size    int64
}

func stampOf(file string) stamp {
	s := stamp{file: file}
	if info, err := os.Stat(file); err == nil {
		s.changed, s.size = info.ModTime(), info.Size()
	}
	return s
}

// Fresh is the configuration as our files have it now: c itself, where they are what they were.
func (c *Config) Fresh() (*Config, error) {
	for _, s := range c.stamps {
		if now := stampOf(s.file); !now.changed.Equal(s.changed) || now.size != s.size {
			return Load(c.options)
		}
	}
	return c, nil
}

// maxFile bounds our own files.
const maxFile = 1 << 20

func (c *Config) readFile(file string) error {
	data, err := readBounded(file, maxFile)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	c.Files = append(c.Files, file)
	return c.decode(file, data)
}

// readBounded reads a regular file. Anything else could block or never end.
func readBounded(file string, limit int64) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: file, Err: errors.New("not a regular file")}
	}
	if info.Size() > limit {
		return nil, &fs.PathError{Op: "read", Path: file, Err: fmt.Errorf("more than %d bytes", limit)}
	}
	return os.ReadFile(file)
}

// check refuses values that are well-formed but of no use.
func (c *Config) check() error {
	var faults []error
	fault := func(key string, err error) {
		faults = append(faults, fmt.Errorf("%s: %s: %w", c.Origin(key), key, err))
	}
	for key, dirs := range map[string][]string{"cache.dir": {c.Cache.Dir}, "cache.lower": c.Cache.Lower} {
		for _, dir := range dirs {
			if !filepath.IsAbs(dir) {
				fault(key, fmt.Errorf("%q is not an absolute path", dir))
			}
		}
	}
	if path, ok := strings.CutPrefix(c.Session.Metrics, "unix:"); ok && !filepath.IsAbs(path) {
		fault("session.metrics", fmt.Errorf("%q is not an absolute path", path))
	}
	if err := c.Runtime.Check(); err != nil {
		key, _, _ := strings.Cut(err.Error(), ":")
		faults = append(faults, fmt.Errorf("%s: runtime.%w", c.Origin("runtime."+key), err))
	}
	return errors.Join(faults...)
}

// Origin tells where the value of a key ("cache.dir") comes from: a file and
// line, an environment variable, or "built in".
func (c *Config) Origin(key string) string {
	if origin, ok := c.origins[key]; ok {
		return origin
	}
	return builtIn
}
