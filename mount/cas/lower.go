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

// OpenLower opens the tiers. One that cannot be opened is left out, and the error names it: what there is below a cache saves
// fetching, and nothing else depends on it.
func OpenLower(paths []string, log *slog.Logger) (l Lower, leftOut []error) {
	for _, path := range paths {
		if err := l.add(path, log); err != nil {
			leftOut = append(leftOut, err)
		}
	}
	return l, leftOut
}

func (l *Lower) add(path string, log *slog.Logger) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if st.IsDir() {
		c, err := OpenCache(CacheConfig{Dir: path, ReadOnly: true, Log: log})
		if err == nil {
			l.Dirs = append(l.Dirs, c)
		}
		return err
	}
	a, err := OpenArchive(path, log)
	if err == nil {
		l.Archives = append(l.Archives, a)
	}
	return err
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
