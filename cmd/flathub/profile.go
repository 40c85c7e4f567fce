package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/spf13/pflag"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/pack"
	"github.com/flatrun/flatrun/mount/pack/squeeze"
	"github.com/flatrun/flatrun/mount/prefetch"
	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/unpacked/publish"
)

func profileVerb() verb {
	var p place
	var c commitFlags
	return verb{
		name: "profile", operands: "add FQRN IMAGE PROFILE | remove FQRN IMAGE", min: 3, max: 4,
		short: "store the start-up pack of an image",
		long: `
PROFILE is a file of 'flatrun profile export', or - for standard input: the objects that a start
of the image reads. Together with the image's catalog they are stored as a pack, which a first
start on a node then fetches in a few requests instead of many. IMAGE is a path in the repository
or the name of an image. Clients of CVMFS without flatrun are not affected.`,
		examples: `
flathub profile add sw.example.org registry.hub.docker.com/library/python:3.12 start.profile`,
		flags: func(f *pflag.FlagSet) { c.add(f); p.addWriter(f) },
		run: func(ctx context.Context, a *app, args []string) error {
			add := args[0] == "add" && len(args) == 4
			if !add && (args[0] != "remove" || len(args) != 3) {
				return usageError{"profile", "profile needs add FQRN IMAGE PROFILE, or remove FQRN IMAGE"}
			}
			r, err := a.find(args[1], p)
			if err != nil {
				return err
			}
			var profile *prefetch.Profile
			if add {
				if profile, err = a.readProfile(args[3]); err != nil {
					return err
				}
			}
			return a.changePack(ctx, r, args[2], profile, c.options())
		},
	}
}

func (a *app) readProfile(name string) (*prefetch.Profile, error) {
	in := a.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, prefetch.MaxProfile+1))
	if err != nil {
		return nil, err
	}
	p, err := prefetch.ParseProfile(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// changePack publishes a revision with the image's pack, or without it for a nil profile.
func (a *app) changePack(ctx context.Context, r *repository, image string, profile *prefetch.Profile, o publish.CommitOptions) error {
	r.options.Compression = cas.None // what is stored is compressed
	r.options.Chunks = publish.ChunkSizes{Min: pack.ChunkMin, Avg: pack.ChunkAvg, Max: pack.ChunkMax}
	return a.transact(ctx, r, o, func(tx *publish.Tx) error { return stagePack(ctx, r, tx, image, profile) })
}

// stagePack replaces the pack of an image, or removes it.
func stagePack(ctx context.Context, r *repository, tx *publish.Tx, image string, profile *prefetch.Profile) error {
	root, err := imageRoot(ctx, tx.Base(), image)
	if err != nil {
		return err
	}
	dir := pack.Dir(root.Path)
	if _, err := tx.Lookup(dir); err != nil && profile == nil {
		return fmt.Errorf("image %s has no pack: %w", image, err)
	}
	if err := tx.Remove(dir); err != nil {
		return err
	}
	if profile != nil {
		if err := putPack(ctx, tx, r.storage, root, dir, profile); err != nil {
			return fmt.Errorf("pack of image %s: %w", image, err)
		}
	}
	return nil
}

// imageRoot follows the links of an image's name to its directory.
func imageRoot(ctx context.Context, rev *repo.Revision, image string) (repo.Node, error) {
	at := catalog.Clean(image)
	for range 40 { // as the kernel
		n, err := rev.Lookup(ctx, at)
		switch {
		case err != nil:
			return n, fmt.Errorf("image %s: %w", image, err)
		case n.Entry.IsDir():
			return n, nil
		case !n.Entry.IsSymlink():
			return n, fmt.Errorf("image %s: %s is no directory", image, at)
		}
		target := rev.Readlink(n)
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(at), target)
		}
		at = catalog.Clean(strings.TrimPrefix(target, "/cvmfs/"+rev.Manifest().Name))
	}
	return repo.Node{}, fmt.Errorf("image %s: too many symbolic links", image)
}

// putPack stores the profile and the parts. Objects that the repository does not hold are left out: the profile may be that
// of an earlier image of the same name.
func putPack(ctx context.Context, tx *publish.Tx, s publish.Storage, root repo.Node, dir string, profile *prefetch.Profile) error {
	catalogs, err := catalogsOf(ctx, tx.Base(), root)
	if err != nil {
		return err
	}
	from := publish.Fetcher(s)
	open := func(o cas.Object) ([]byte, error) {
		if o.Suffix == cas.CatalogSuffix {
			o.Size = -1
		}
		b, err := cas.ReadVerified(ctx, from, o)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return append([]byte{}, b...), err
	}
	n := 0
	packed, err := pack.Build(append(catalogs, profile.Objects...), squeeze.Append, open, func(part []byte) error {
		if n >= pack.MaxParts {
			return errors.New("the profile names too much for one pack; record a shorter start")
		}
		n++
		return tx.PutFile(dir+"/"+pack.PartName(n-1), 0o644, bytes.NewReader(part))
	})
	if err != nil {
		return err
	}
	if n == 0 {
		return errors.New("the repository holds none of the profile's objects")
	}
	return tx.PutFile(dir+"/"+pack.ProfileName, 0o644, bytes.NewReader((&prefetch.Profile{Objects: packed}).Marshal()))
}

// maxCatalogs bounds the catalogs in a pack: an image has a few.
const maxCatalogs = 16

// catalogsOf are the catalogs that describe the image, without those of the repository above it: those change with each
// revision, and clients have them before they know of the image.
func catalogsOf(ctx context.Context, rev *repo.Revision, root repo.Node) (all []cas.Object, err error) {
	if root.Entry.Flags&catalog.NestedRoot == 0 {
		return nil, nil
	}
	all = append(all, cas.Object{Hash: root.CatalogHash, Suffix: cas.CatalogSuffix, Size: -1, Pinned: true})
	for todo := []*catalog.Catalog{root.Catalog}; len(todo) > 0; todo = todo[1:] {
		children, err := todo[0].Nested()
		if err != nil {
			return nil, err
		}
		for _, child := range children {
			if len(all) == maxCatalogs {
				return all, nil
			}
			if child.Bind {
				continue
			}
			c, err := rev.Catalog(ctx, child.Hash, child.Size, child.Path)
			if err != nil {
				return nil, err
			}
			all = append(all, cas.Object{Hash: child.Hash, Suffix: cas.CatalogSuffix, Size: -1, Pinned: true})
			todo = append(todo, c)
		}
	}
	return all, nil
}
