package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/repo"
)

// view is a repository as far as finding an image needs it. Paths are clean and absolute inside the repository.
type view interface {
	// stat does not follow a symbolic link at p; link is its target. The error matches fs.ErrNotExist.
	stat(ctx context.Context, p string) (mode fs.FileMode, link string, err error)
	names(ctx context.Context, dir string) ([]string, error)
	read(ctx context.Context, p string, limit int64) ([]byte, error)
}

// catalogView asks the catalogs: the session must not wait for its own file system.
type catalogView struct{ *repo.Revision }

func (v catalogView) stat(ctx context.Context, p string) (fs.FileMode, string, error) {
	n, err := v.lookup(ctx, p)
	if err != nil {
		return 0, "", err
	}
	switch n.Entry.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return fs.ModeDir, "", nil
	case unix.S_IFLNK:
		return fs.ModeSymlink, v.Readlink(n), nil
	case unix.S_IFREG:
		return 0, "", nil
	}
	return fs.ModeIrregular, "", nil
}

func (v catalogView) names(ctx context.Context, dir string) ([]string, error) {
	n, err := v.lookup(ctx, dir)
	if err != nil {
		return nil, err
	}
	var names []string
	err = v.List(ctx, n, func(child repo.Node) error {
		names = append(names, path.Base(child.Path))
		return nil
	})
	return names, err
}

func (v catalogView) read(ctx context.Context, p string, limit int64) ([]byte, error) {
	n, err := v.lookup(ctx, p)
	if err != nil {
		return nil, err
	}
	return v.ReadFile(ctx, n, limit)
}

// lookup tells what is not in the repository from what its servers do not have: a catalog that cannot be fetched must not
// pass for a missing path.
func (v catalogView) lookup(ctx context.Context, p string) (repo.Node, error) {
	if p == "/" {
		p = "" // as catalogs spell the root
	}
	n, err := v.Lookup(ctx, p)
	var missing *fs.PathError
	if errors.Is(err, fs.ErrNotExist) && !(errors.As(err, &missing) && missing.Op == "lookup") {
		err = errors.New(err.Error())
	}
	return n, err
}

// hostView looks into a mount of the site's own client.
type hostView struct{ dir string }

func (v hostView) stat(_ context.Context, p string) (fs.FileMode, string, error) {
	st, err := os.Lstat(filepath.Join(v.dir, p))
	if err != nil {
		return 0, "", err
	}
	if st.Mode().Type() != fs.ModeSymlink {
		return st.Mode().Type(), "", nil
	}
	link, err := os.Readlink(filepath.Join(v.dir, p))
	return fs.ModeSymlink, link, err
}

func (v hostView) names(_ context.Context, dir string) ([]string, error) {
	f, err := os.Open(filepath.Join(v.dir, dir))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (v hostView) read(_ context.Context, p string, limit int64) ([]byte, error) {
	f, err := os.Open(filepath.Join(v.dir, p))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", p, limit)
	}
	return b, err
}
