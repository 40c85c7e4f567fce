package cas

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Breadcrumb is the last verified head of a repository. The official client reads and writes the same file.
type Breadcrumb struct {
	Root      Hash
	Timestamp int64  // seconds since 1970 of the manifest
	Revision  uint64 // 0 in breadcrumbs of old clients
}

const crumbPrefix = "cvmfschecksum."

// maxBreadcrumb is how much of the file the official client reads.
const maxBreadcrumb = 164

// String returns the file's content.
func (b Breadcrumb) String() string {
	return fmt.Sprintf("%vT%dR%d", b.Root, b.Timestamp, b.Revision)
}

func parseBreadcrumb(s string) (b Breadcrumb, err error) {
	root, rest, ok := strings.Cut(strings.TrimRight(s, "\n"), "T")
	if !ok {
		return Breadcrumb{}, fmt.Errorf("breadcrumb %q: no timestamp", s)
	}
	if b.Root, err = ParseHash(root); err != nil {
		return Breadcrumb{}, fmt.Errorf("breadcrumb: %w", err)
	}
	stamp, revision, ok := strings.Cut(rest, "R")
	if b.Timestamp, err = strconv.ParseInt(stamp, 10, 64); err != nil {
		return Breadcrumb{}, fmt.Errorf("breadcrumb: timestamp: %w", err)
	}
	if !ok {
		return b, nil
	}
	if b.Revision, err = strconv.ParseUint(revision, 10, 64); err != nil {
		return Breadcrumb{}, fmt.Errorf("breadcrumb: revision: %w", err)
	}
	return b, nil
}

// Breadcrumb reads the last verified head of a repository; fs.ErrNotExist when there was none.
func (c *Cache) Breadcrumb(fqrn string) (Breadcrumb, error) {
	name, err := c.breadcrumb(fqrn)
	if err != nil {
		return Breadcrumb{}, err
	}
	f, err := os.Open(name)
	if err != nil {
		return Breadcrumb{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxBreadcrumb))
	if err != nil {
		return Breadcrumb{}, err
	}
	b, err := parseBreadcrumb(string(text))
	if err != nil {
		return Breadcrumb{}, fmt.Errorf("%s: %w; remove the file if it was damaged", name, err)
	}
	return b, nil
}

// SetBreadcrumb records a verified head. It is on the disk when SetBreadcrumb returns, for it guards against roll-backs.
func (c *Cache) SetBreadcrumb(fqrn string, b Breadcrumb) error {
	name, err := c.breadcrumb(fqrn)
	if err != nil {
		return err
	}
	if err := c.writable(); err != nil {
		return err
	}
	f, err := c.createTemp()
	if err != nil {
		return fmt.Errorf("breadcrumb of %s: %w", fqrn, err)
	}
	defer f.Close()
	_, err = f.WriteString(b.String())
	if err == nil && c.cfg.Shared {
		err = f.Chmod(fs.FileMode(c.mode(false)))
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("breadcrumb of %s: %w", fqrn, err)
	}
	return nil
}

// Breadcrumbs lists the heads that the cache has seen, those of pinned revisions too, by name.
func (c *Cache) Breadcrumbs() []NamedCrumb {
	names, _ := filepath.Glob(filepath.Join(c.cfg.Dir, crumbPrefix+"*"))
	var all []NamedCrumb
	for _, name := range names {
		fqrn := strings.TrimPrefix(filepath.Base(name), crumbPrefix)
		if b, err := c.Breadcrumb(fqrn); err == nil {
			all = append(all, NamedCrumb{fqrn, b})
		}
	}
	return all
}

// Adopt takes over heads that another cache has seen, where they are newer than what this one knows: so that a node without
// outbound network finds the revision whose objects a lower tier holds. It is as good as the tier, which is trusted.
func (c *Cache) Adopt(crumbs []NamedCrumb) error {
	for _, n := range crumbs {
		own, err := c.Breadcrumb(n.FQRN)
		if err == nil && own.Timestamp >= n.Timestamp {
			continue
		}
		if err := c.SetBreadcrumb(n.FQRN, n.Breadcrumb); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cache) breadcrumb(fqrn string) (string, error) {
	if fqrn == "" || strings.ContainsAny(fqrn, "/\x00") {
		return "", fmt.Errorf("breadcrumb: %q is not the name of a repository", fqrn)
	}
	return filepath.Join(c.cfg.Dir, crumbPrefix+fqrn), nil
}
