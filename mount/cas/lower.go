package cas

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
)

// Lower are the read-only tiers below a cache, filled by somebody else: directories, which an official client or its preload
// tool keeps, or flatrun prefetch made; and files of flatrun cache export. The zero value has none.
type Lower struct {
	Dirs     []*Cache
	Archives []*Archive
}

// OpenLower opens the tiers. An error names the one that is wrong.
func OpenLower(paths []string, log *slog.Logger) (l Lower, err error) {
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	for _, path := range paths {
		st, err := os.Stat(path)
		if err != nil {
			return l, err
		}
		if st.IsDir() {
			c, err := OpenCache(CacheConfig{Dir: path, ReadOnly: true, Log: log})
			if err != nil {
				return l, err
			}
			l.Dirs = append(l.Dirs, c)
			continue
		}
		a, err := OpenArchive(path, log)
		if err != nil {
			return l, err
		}
		l.Archives = append(l.Archives, a)
	}
	return l, nil
}

// Close closes the archives.
func (l Lower) Close() error {
	var failed []error
	for _, a := range l.Archives {
		failed = append(failed, a.Close())
	}
	return errors.Join(failed...)
}

// Store returns the directories as one Store, nil for none.
func (l Lower) Store() Store {
	if len(l.Dirs) == 0 {
		return nil
	}
	return dirs(l.Dirs)
}

// Breadcrumbs are the heads that the tiers have seen.
func (l Lower) Breadcrumbs() []NamedCrumb {
	var all []NamedCrumb
	for _, c := range l.Dirs {
		all = append(all, c.Breadcrumbs()...)
	}
	for _, a := range l.Archives {
		all = append(all, a.Breadcrumbs()...)
	}
	return all
}

// dirs asks one directory after the other.
type dirs []*Cache

func (d dirs) Open(ctx context.Context, o Object) (*os.File, error) {
	var failed []error
	for _, c := range d {
		f, err := c.open(o)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	if len(failed) > 0 {
		return nil, errors.Join(failed...)
	}
	return nil, fmt.Errorf("lower cache: object %v: %w", o, fs.ErrNotExist)
}
