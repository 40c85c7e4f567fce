package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// initOptions are the flags of init.
type initOptions struct {
	place
	hash, compression, description string
	ttl                            time.Duration
	noGC, altPaths                 bool
}

func initVerb() verb {
	var o initOptions
	return verb{
		name: "init", operands: "FQRN", min: 1, max: 1,
		short: "make an empty repository: keys, whitelist, a signed first revision",
		long: `
Keys are made in the configuration's keys directory, or in --keys; keys that are there are
used. The master key (FQRN.masterkey) signs the whitelist every 30 days and can be kept
elsewhere meanwhile; clients need FQRN.pub.`,
		examples: `
flathub init images.example.org --storage /srv/cvmfs/images.example.org
flathub init images.example.org --storage 's3://bucket/images.example.org?endpoint=https://s3.example.org'`,
		flags: func(f *pflag.FlagSet) {
			o.place.addWriter(f)
			f.StringVar(&o.hash, "hash", "sha1", "hash algorithm: sha1, rmd160 or shake128")
			f.StringVar(&o.compression, "compression", "zlib", "of file contents: zlib or none")
			f.StringVar(&o.description, "description", "", "what the repository is, for people and tools")
			addDuration(f, &o.ttl, "ttl", 4*time.Minute, "how soon clients look for a new revision")
			f.BoolVar(&o.noGC, "no-gc", false, "forbid garbage collection for ever")
			f.BoolVar(&o.altPaths, "alt-paths", false, "also keep root catalog and certificate outside data/")
		},
		run: func(ctx context.Context, a *app, args []string) error { return a.init(ctx, args[0], o) },
	}
}

func (a *app) init(ctx context.Context, fqrn string, o initOptions) error {
	if o.storage == "" {
		return usageError{"init", "init needs --storage"}
	}
	if err := o.place.absolute(); err != nil {
		return err
	}
	if s, err := a.loadSettings(fqrn); err == nil && s.Storage != o.storage {
		return fmt.Errorf("init %s: it was made in %s; for another of that name, set FLATHUB_CONFIG to a new directory", fqrn, s.Storage)
	}
	r, err := a.find(fqrn, o.place)
	if err != nil {
		return err
	}
	if r.options.Algorithm, err = cas.ParseAlgorithm(o.hash); err != nil {
		return err
	}
	if r.options.Compression, err = parseCompression(o.compression); err != nil {
		return err
	}
	keys, err := r.makeKeys()
	if err != nil {
		return err
	}
	m, err := publish.Init(ctx, r.storage, publish.InitOptions{
		Options: r.options, Keys: keys, TTL: int64(o.ttl / time.Second), Description: o.description,
		Uncollected: o.noGC, AltPaths: o.altPaths,
	})
	if err != nil {
		return fmt.Errorf("init %s: %w", fqrn, err)
	}
	err = a.saveSettings(settings{FQRN: fqrn, Storage: o.storage, Keys: r.keysDir, Compression: o.compression})
	if err != nil {
		return err
	}
	public := filepath.Join(r.keysDir, fqrn+".pub")
	return a.print(map[string]any{"fqrn": fqrn, "storage": o.storage, "public_key": public, "root": m.Root, "revision": m.Revision},
		fmt.Sprintf("%s: revision %d in %s; clients verify it with %s\n", fqrn, m.Revision, r.storage, public))
}

// absolute makes directories independent of where the program runs.
func (p *place) absolute() (err error) {
	if !strings.Contains(p.storage, "://") {
		if p.storage, err = filepath.Abs(p.storage); err != nil {
			return err
		}
	}
	if p.keys != "" {
		p.keys, err = filepath.Abs(p.keys)
	}
	return err
}

// makeKeys loads the repository's keys, or makes them where there are none.
func (r *repository) makeKeys() (publish.Keys, error) {
	keys, err := r.keys()
	if !errors.Is(err, fs.ErrNotExist) {
		return keys, err
	}
	if keys, err = publish.NewKeys(r.fqrn, time.Now()); err != nil {
		return keys, err
	}
	return keys, keys.Save(r.keysDir, r.fqrn)
}
