package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/unpacked/near"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// settings are what init notes about a repository, in FQRN.json of the
// configuration's directory.
type settings struct {
	FQRN        string `json:"fqrn"`
	Storage     string `json:"storage"` // directory or s3://BUCKET/PREFIX
	Keys        string `json:"keys"`    // directory
	Compression string `json:"compression,omitempty"`
}

// configDir is where settings and keys lie.
func (a *app) configDir() (string, error) {
	switch {
	case a.env("FLATHUB_CONFIG") != "":
		return filepath.Abs(a.env("FLATHUB_CONFIG"))
	case a.root:
		return "/etc/flathub", nil
	case a.env("XDG_CONFIG_HOME") != "":
		return filepath.Join(a.env("XDG_CONFIG_HOME"), "flathub"), nil
	case a.env("HOME") != "":
		return filepath.Join(a.env("HOME"), ".config", "flathub"), nil
	}
	return "", errors.New("no directory for the configuration: set FLATHUB_CONFIG or HOME")
}

// loadSettings reads what init noted; fs.ErrNotExist if it did not.
func (a *app) loadSettings(fqrn string) (s settings, err error) {
	dir, err := a.configDir()
	if err != nil {
		return s, err
	}
	b, err := os.ReadFile(filepath.Join(dir, fqrn+".json"))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("configuration %s: %w", filepath.Join(dir, fqrn+".json"), err)
	}
	return s, nil
}

// saveSettings notes where a repository lies.
func (a *app) saveSettings(s settings) error {
	dir, err := a.configDir()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	name := filepath.Join(dir, s.FQRN+".json")
	if err := os.WriteFile(name+".new", append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return os.Rename(name+".new", name)
}

// configured lists the repositories that init noted.
func (a *app) configured() []settings {
	dir, err := a.configDir()
	if err != nil {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil
	}
	var all []settings
	for _, f := range files {
		if s, err := a.loadSettings(strings.TrimSuffix(filepath.Base(f), ".json")); err == nil {
			all = append(all, s)
		}
	}
	return all
}

// place holds the flags that say where a repository lies.
type place struct {
	storage, keys, scratch string
	wait                   time.Duration // for another publisher
}

func (p *place) add(f *pflag.FlagSet) {
	f.StringVar(&p.storage, "storage", "", "directory or s3://BUCKET/PREFIX of the repository (default: as init noted)")
	f.StringVar(&p.keys, "keys", "", "directory of the keys (default: as init noted, else keys/ beside the configuration)")
	f.StringVar(&p.scratch, "scratch", "", "directory for temporary files (default: $TMPDIR)")
}

// addWriter adds the flags of verbs that publish.
func (p *place) addWriter(f *pflag.FlagSet) {
	p.add(f)
	addDuration(f, &p.wait, "wait", 2*time.Minute, "wait this long for another publisher to end")
}

// repository is a repository that a verb works on.
type repository struct {
	fqrn    string
	storage publish.Storage
	keysDir string
	options publish.Options
}

// find combines the flags with what init noted.
func (a *app) find(fqrn string, p place) (*repository, error) {
	if err := publish.CheckPublishable(fqrn); err != nil {
		return nil, err
	}
	s, err := a.loadSettings(fqrn)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if p.storage == "" && err != nil {
		return nil, a.unknown(fqrn)
	}
	if p.storage != "" {
		s.Storage = p.storage
	}
	if p.keys != "" {
		s.Keys = p.keys
	}
	if s.Keys == "" {
		if s.Keys, err = a.defaultKeys(); err != nil {
			return nil, err
		}
	}
	r := &repository{fqrn: fqrn, keysDir: s.Keys, options: publish.Options{
		FQRN: fqrn, Scratch: p.scratch, Log: a.log(), Wait: p.wait, Waiting: func(err error) { a.waiting(err, p.wait) },
	}}
	if r.options.Compression, err = parseCompression(s.Compression); err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", fqrn, err)
	}
	r.storage, err = a.openStorage(s.Storage)
	return r, err
}

// findWithKeys is find for what signs without a transaction.
func (a *app) findWithKeys(fqrn string, p place) (*repository, publish.Keys, error) {
	r, err := a.find(fqrn, p)
	if err != nil {
		return nil, publish.Keys{}, err
	}
	keys, err := r.keys()
	return r, keys, err
}

// waiting tells why nothing happens.
func (a *app) waiting(err error, wait time.Duration) {
	if !a.quiet && !a.json {
		fmt.Fprintf(a.err, "flathub: %v; waiting up to %s\n", err, wait)
	}
}

func (a *app) defaultKeys() (string, error) {
	dir, err := a.configDir()
	return filepath.Join(dir, "keys"), err
}

func (a *app) unknown(fqrn string) error {
	var names []string
	for _, s := range a.configured() {
		names = append(names, s.FQRN)
	}
	hint := "make it with flathub init, or say --storage"
	if close := near.Matches(fqrn, names, 1); len(close) > 0 {
		hint = fmt.Sprintf("did you mean %s?", close[0])
	}
	return fmt.Errorf("repository %s: not in the configuration: %s", fqrn, hint)
}

func (a *app) openStorage(location string) (publish.Storage, error) {
	if !strings.Contains(location, "://") {
		return publish.OpenDirectory(location)
	}
	c, err := publish.ParseS3(location, a.env)
	if err != nil {
		return nil, err
	}
	return publish.OpenS3(c)
}

// keys are those that sign.
func (r *repository) keys() (publish.Keys, error) { return publish.LoadKeys(r.keysDir, r.fqrn) }

// reading are the options of verbs that only look: the public key is enough.
func (r *repository) reading() (publish.ReadOptions, error) {
	public, err := repo.LoadKeys(filepath.Join(r.keysDir, r.fqrn+".pub"))
	return publish.ReadOptions{Options: r.options, Public: public}, err
}

func parseCompression(name string) (cas.Compression, error) {
	switch name {
	case "", "zlib", "default":
		return cas.Zlib, nil
	case "none":
		return cas.None, nil
	}
	return 0, fmt.Errorf("compression %q: want zlib or none", name)
}
