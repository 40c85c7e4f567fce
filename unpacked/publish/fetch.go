package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/flatrun/flatrun/mount/cas"
)

// scratchStore opens verified objects, catalogs for the most part, and keeps
// them in a scratch directory for as long as that is there.
type scratchStore struct {
	s   Storage
	dir string
}

// Open implements cas.Store.
func (c *scratchStore) Open(ctx context.Context, o cas.Object) (*os.File, error) {
	name := filepath.Join(c.dir, "object-"+o.Hash.String())
	f, err := os.Open(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	tmp, err := os.CreateTemp(c.dir, "fetch")
	if err != nil {
		return nil, fmt.Errorf("scratch file: %w", err)
	}
	defer tmp.Close()
	if err := copyObject(ctx, c.s, o, tmp); err != nil {
		os.Remove(tmp.Name())
		return nil, fmt.Errorf("object %s of %s: %w", o.Name(), c.s, err)
	}
	if err := os.Rename(tmp.Name(), name); err != nil {
		return nil, fmt.Errorf("scratch file: %w", err)
	}
	return os.Open(name)
}

// copyObject reads an object, whatever its size, and writes it decompressed.
// Only when it returns without an error are hash and size right.
func copyObject(ctx context.Context, s Storage, o cas.Object, w io.Writer) (err error) {
	rc, err := s.Get(ctx, o.Name())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	_, err = cas.Decode(w, rc, o)
	return err
}
