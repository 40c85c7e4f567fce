package convert

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/unpacked"
	"github.com/flatrun/flatrun/unpacked/publish"
	"github.com/flatrun/flatrun/unpacked/wishlist"
)

// ledgerFile keeps what Sync has to remember from one run to the next.
const ledgerFile = unpacked.Metadata + "/flathub-sync.json"

// ledger knows which images came of which list, and since when something is not wanted any more.
type ledger struct {
	Wishes  map[string]string    `json:"wishes"`  // image name → list
	Removed map[string]time.Time `json:"removed"` // image name → when it was missing first
	Orphans map[string]time.Time `json:"orphans"` // path of a flat image or layer → when nothing named it first
	Made    map[string]made      `json:"made,omitempty"`
}

// made is what the links of an image's name do not tell of how it was made.
type made struct {
	Platforms string `json:"platforms,omitempty"` // those asked for, unless it was this program's own alone
	Thin      string `json:"thin,omitempty"`      // the thin image that was pushed, and of which digest of the image
}

func readLedger(ctx context.Context, v *repo.Revision) (*ledger, error) {
	l := &ledger{}
	text, err := readFile(ctx, v, ledgerFile)
	if err == nil {
		err = json.Unmarshal(text, l)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", ledgerFile, err)
	}
	for _, m := range []*map[string]time.Time{&l.Removed, &l.Orphans} {
		if *m == nil {
			*m = map[string]time.Time{}
		}
	}
	if l.Wishes == nil {
		l.Wishes = map[string]string{}
	}
	if l.Made == nil {
		l.Made = map[string]made{}
	}
	return l, nil
}

// collect removes what nobody has wished for longer than the grace period: first an image's links and metadata, then,
// once nothing names them, flat images and layers. Objects go with the next garbage collection of the repository.
func (s *Sync) collect(ctx context.Context, c *Converter, all []wanted, r *Report) error {
	tx := c.Tx
	l, err := readLedger(ctx, tx.Base())
	if err != nil {
		return err
	}
	before, err := json.Marshal(l)
	if err != nil {
		return err
	}
	s.remember(l)
	s.settle(l, all, tx.Now())
	gone := map[string]bool{}
	for _, name := range s.due(l, tx.Now()) {
		if err := s.drop(ctx, tx, name); err != nil {
			return err
		}
		gone[name] = true
		delete(l.Removed, name)
		delete(l.Wishes, name)
		delete(l.Made, name)
		r.Removed = append(r.Removed, name)
	}
	if err := s.sweep(ctx, tx, l, gone, r); err != nil {
		return err
	}
	if err := c.dropFromPodman(ctx, gone, r.Removed); err != nil {
		return err
	}
	slices.Sort(r.Removed)
	after, err := json.Marshal(l)
	if err != nil || bytes.Equal(before, after) {
		return err
	}
	return tx.PutFile(ledgerFile, 0o644, bytes.NewReader(after))
}

// dropFromPodman takes what was removed out of the store: names of images, flat images, layers.
func (c *Converter) dropFromPodman(ctx context.Context, names map[string]bool, removed []string) (err error) {
	if len(names)+len(removed) == 0 {
		return nil
	}
	if c.podman == nil {
		if c.podman, err = readPodmanStore(ctx, c.Tx); err != nil {
			return err
		}
	}
	dirs := map[string]bool{}
	for _, p := range removed {
		dirs[p] = true
	}
	if err := c.podman.remove(ctx, c.Tx, names, dirs); err != nil {
		return err
	}
	return c.podman.write(c.Tx)
}

// settle notes the list's wishes and which of earlier ones are missing.
func (s *Sync) settle(l *ledger, all []wanted, now time.Time) {
	wished := map[string]bool{}
	for _, w := range all {
		name := w.ref.String()
		wished[name] = true
		l.Wishes[name] = s.ListName
		delete(l.Removed, name)
	}
	for name, list := range l.Wishes {
		if list != s.ListName || wished[name] || s.unsure(name) {
			continue
		}
		if _, known := l.Removed[name]; !known {
			l.Removed[name] = now.UTC().Truncate(time.Second)
		}
	}
}

// unsure tells whether a wish that failed may be for an image: a registry that did not answer must not take images away,
// and neither must a line that nobody can read. Other images it does not keep: of a thousand wishes one always fails.
func (s *Sync) unsure(image string) bool {
	return len(s.List.Bad) > 0 || slices.ContainsFunc(s.failed, func(w wishlist.Wish) bool { return w.Names(image) })
}

// due are the images whose time of grace is over.
func (s *Sync) due(l *ledger, now time.Time) []string {
	var due []string
	for name, since := range l.Removed {
		if now.Sub(since) >= s.Grace && !s.unsure(name) {
			due = append(due, name)
		}
	}
	slices.Sort(due)
	return due
}

// remember notes how images were made in this run.
func (s *Sync) remember(l *ledger) {
	for name, m := range s.made {
		if m.Thin == "" {
			m.Thin = l.Made[name].Thin // which says of which digest it was
		}
		if m == (made{}) {
			delete(l.Made, name)
		} else {
			l.Made[name] = m
		}
	}
}

// drop removes an image's links and metadata.
func (s *Sync) drop(ctx context.Context, tx *publish.Tx, name string) error {
	dir, base := path.Split("/" + name)
	for _, in := range []string{strings.TrimSuffix(dir, "/"), unpacked.Metadata + strings.TrimSuffix(dir, "/")} {
		entries, err := list(ctx, tx.Base(), in)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e == base || strings.HasPrefix(e, base+"@") {
				if err := tx.Remove(in + "/" + e); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// markImage marks what belongs to one image alone.
func markImage(named map[string]bool, id unpacked.Digest) {
	named[unpacked.FlatRoot(id)], named[unpacked.StackRoot(id)] = true, true
}

// sweep removes flat images, layers and what lies over them that no image names.
func (s *Sync) sweep(ctx context.Context, tx *publish.Tx, l *ledger, gone map[string]bool, r *Report) error {
	named := map[string]bool{}
	for _, c := range slices.Concat(r.Converted, r.known) {
		markImage(named, c.ID)
		for _, d := range c.digests {
			named[unpacked.LayerDir(d)] = true
		}
	}
	places, err := mark(ctx, tx.Base(), gone, named)
	if err != nil {
		return err
	}
	orphans := map[string]time.Time{}
	for _, top := range []string{unpacked.Flats, unpacked.Layers, unpacked.Stacks} {
		err := shards(ctx, tx.Base(), top, func(dir string) error {
			if named[dir] {
				return nil
			}
			since, known := l.Orphans[dir]
			if !known {
				since = tx.Now().UTC().Truncate(time.Second)
			}
			if tx.Now().Sub(since) < s.Grace {
				orphans[dir] = since
				return nil
			}
			r.Removed = append(r.Removed, dir)
			return tx.Remove(dir)
		})
		if err != nil {
			return err
		}
	}
	l.Orphans = orphans
	return s.dropAliases(ctx, tx, places, r.Removed)
}

// dropAliases removes the links by digest to flat images that were removed.
func (s *Sync) dropAliases(ctx context.Context, tx *publish.Tx, places map[string]bool, removed []string) error {
	flats := map[string]bool{}
	for _, p := range removed {
		flats[p] = true
	}
	return links(ctx, tx.Base(), places, func(p string, id unpacked.Digest) error {
		if flats[unpacked.FlatRoot(id)] {
			return tx.Remove(p)
		}
		return nil
	})
}

// mark collects in named the directories of the flat images and layers that images are made of: what their metadata
// names, and what a link with a tag leads to even where there is no metadata. places are the directories that hold names
// of images.
func mark(ctx context.Context, v *repo.Revision, gone, named map[string]bool) (places map[string]bool, err error) {
	places = map[string]bool{}
	err = walkFiles(ctx, v, unpacked.Metadata, func(p string) error {
		dir, file := path.Split(p)
		name := strings.TrimPrefix(strings.TrimSuffix(dir, "/"), unpacked.Metadata+"/")
		if file != "manifest.json" {
			return nil
		}
		places[strings.TrimSuffix(path.Dir("/"+name), "/")] = true
		if plain, _, _ := strings.Cut(name, "@"); gone[name] || gone[plain] {
			return nil
		}
		return markManifest(ctx, v, p, named)
	})
	if err != nil {
		return nil, err
	}
	return places, links(ctx, v, places, func(p string, id unpacked.Digest) error {
		if name := strings.TrimPrefix(p, "/"); !strings.Contains(name, "@") && !gone[name] {
			markImage(named, id)
		}
		return nil
	})
}

// markManifest marks what one image is made of.
func markManifest(ctx context.Context, v *repo.Revision, p string, named map[string]bool) error {
	text, err := readFile(ctx, v, p)
	if err != nil {
		return err
	}
	var m duccManifest
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	if id, err := unpacked.ParseDigest(m.Config.Digest); err == nil {
		markImage(named, id)
	}
	for _, l := range m.Layers {
		if d, err := unpacked.ParseDigest(l.Digest); err == nil {
			named[unpacked.LayerDir(d)] = true
		}
	}
	return nil
}

// links visits the links to flat images in some directories.
func links(ctx context.Context, v *repo.Revision, dirs map[string]bool, fn func(p string, image unpacked.Digest) error) error {
	for dir := range dirs {
		err := visit(ctx, v, dir, func(n repo.Node) error {
			if id, ok := unpacked.ImageOf(n.Entry.Symlink + "/."); ok && n.Entry.IsSymlink() {
				return fn(dir+"/"+n.Entry.Name, id)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// list are the names in a directory; none if it does not exist.
func list(ctx context.Context, v *repo.Revision, dir string) ([]string, error) {
	var names []string
	err := visit(ctx, v, dir, func(n repo.Node) error {
		names = append(names, n.Entry.Name)
		return nil
	})
	return names, err
}

func visit(ctx context.Context, v *repo.Revision, dir string, fn func(repo.Node) error) error {
	n, err := v.Lookup(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var nodes []repo.Node // look-ups while listing would hold two connections of one catalog
	if err := v.List(ctx, n, func(n repo.Node) error { nodes = append(nodes, n); return nil }); err != nil {
		return err
	}
	for _, n := range nodes {
		if err := fn(n); err != nil {
			return err
		}
	}
	return nil
}

// shards visits the directories TOP/xx/NAME.
func shards(ctx context.Context, v *repo.Revision, top string, fn func(dir string) error) error {
	outer, err := list(ctx, v, top)
	if err != nil {
		return err
	}
	for _, xx := range outer {
		if len(xx) != 2 {
			continue
		}
		inner, err := list(ctx, v, top+"/"+xx)
		if err != nil {
			return err
		}
		for _, name := range inner {
			if strings.HasPrefix(name, xx) {
				if err := fn(top + "/" + xx + "/" + name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// walkFiles visits what is no directory below dir.
func walkFiles(ctx context.Context, v *repo.Revision, dir string, fn func(string) error) error {
	return visit(ctx, v, dir, func(n repo.Node) error {
		p := dir + "/" + n.Entry.Name
		if n.Entry.IsDir() {
			return walkFiles(ctx, v, p, fn)
		}
		return fn(p)
	})
}

// readFile reads a small file of the repository.
func readFile(ctx context.Context, v *repo.Revision, p string) ([]byte, error) {
	n, err := v.Lookup(ctx, p)
	if err != nil {
		return nil, err
	}
	return v.ReadFile(ctx, n, maxDocument)
}
