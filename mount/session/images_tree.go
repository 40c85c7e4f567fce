package session

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/unpacked"
)

// imageTree is a repository as far as listing images needs it.
type imageTree interface {
	view
	entries(ctx context.Context, dir string) ([]treeEntry, error)
	// size is that of the directory with everything below, 0 if that is not known at once.
	size(ctx context.Context, dir string) (bytes, files int64)
}

// treeEntry is one entry of a directory. Links and directories matter; others have mode 0.
type treeEntry struct {
	name string
	mode fs.FileMode
	link string
	time time.Time
}

func (v catalogView) entries(ctx context.Context, dir string) (list []treeEntry, err error) {
	n, err := v.lookup(ctx, dir)
	if err != nil {
		return nil, err
	}
	err = v.List(ctx, n, func(child repo.Node) error {
		e := treeEntry{name: path.Base(child.Path), time: time.Unix(child.Entry.Mtime, 0).UTC()}
		switch {
		case child.Entry.IsDir():
			e.mode = fs.ModeDir
		case child.Entry.IsSymlink():
			e.mode, e.link = fs.ModeSymlink, v.Readlink(child)
		}
		list = append(list, e)
		return nil
	})
	return list, err
}

// size is in the catalog, if the directory has one of its own.
func (v catalogView) size(ctx context.Context, dir string) (bytes, files int64) {
	n, err := v.lookup(ctx, dir)
	if err != nil {
		return 0, 0
	}
	if n, err = v.Enter(ctx, n); err != nil || n.Catalog.Prefix() != dir {
		return 0, 0
	}
	s, err := n.Catalog.Statistics()
	if err != nil {
		return 0, 0
	}
	s.Self.Add(s.Subtree)
	return s.Self.FileSize, s.Self.Regular
}

func (v hostView) entries(_ context.Context, dir string) (list []treeEntry, err error) {
	entries, err := os.ReadDir(filepath.Join(v.dir, dir))
	for _, d := range entries {
		e := treeEntry{name: d.Name(), mode: d.Type()}
		if e.mode == fs.ModeSymlink {
			e.link, _ = os.Readlink(filepath.Join(v.dir, dir, e.name))
			if info, err := d.Info(); err == nil {
				e.time = info.ModTime().UTC()
			}
		}
		list = append(list, e)
	}
	return list, err
}

func (v hostView) size(context.Context, string) (bytes, files int64) { return 0, 0 }

// lookers is how many images are looked at at once: each is a fetch or two.
const lookers = 16

// describeAll finds platform and size of images, where the repository tells them.
func describeAll(ctx context.Context, tree imageTree, list []Image) {
	var all sync.WaitGroup
	next := make(chan *Image)
	for range min(lookers, len(list)) {
		all.Go(func() {
			for i := range next {
				i.describe(ctx, tree)
			}
		})
	}
	for i := range list {
		next <- &list[i]
	}
	close(next)
	all.Wait()
}

func (i *Image) describe(ctx context.Context, tree imageTree) {
	id, err := unpacked.ParseDigest(i.ID)
	if err != nil {
		return
	}
	i.Size, i.Files = tree.size(ctx, unpacked.FlatRoot(id))
	text, err := tree.read(ctx, podmanConfig(id), maxConfig)
	if err != nil || i.Platform != "" {
		return
	}
	var c struct{ OS, Architecture, Variant string }
	if json.Unmarshal(text, &c) == nil && c.OS != "" && c.Architecture != "" {
		i.Platform = strings.TrimSuffix(c.OS+"/"+c.Architecture+"/"+c.Variant, "/")
	}
}
