package repo_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/mount/repotest"
)

// TestOfficial compares everything in the repositories that the official server
// wrote with what the official client shows of them.
func TestOfficial(t *testing.T) {
	for _, name := range repotest.OfficialNames {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines := repotest.Lines(t, name)
			dir, key := repotest.Official(t, name)
			for _, rev := range []string{"r1", "r2"} {
				want := map[string]repotest.Line{}
				for _, l := range lines {
					if l.Rev == rev {
						want[l.Path] = l
					}
				}
				if len(want) == 0 {
					continue
				}
				cfg := repotest.Config(t, name, dir, key)
				if name != "bench.example.org" {
					cfg.Tag = rev
				}
				compare(t, repotest.Open(t, cfg).Head(), want)
			}
		})
	}
}

// compare walks the revision and crosses off what it finds.
func compare(t *testing.T, v *repo.Revision, want map[string]repotest.Line) {
	t.Helper()
	ctx := context.Background()
	groups := map[string][]string{}
	seen := 0
	var walk func(n repo.Node)
	walk = func(n repo.Node) {
		l, found := want[n.Path]
		if !found {
			t.Errorf("%q: not in the official tree", n.Path)
			return
		}
		seen++
		if diff := difference(ctx, v, n, l); diff != "" {
			t.Errorf("%q: %s", n.Path, diff)
		}
		if n.Entry.LinkGroup != 0 {
			id := fmt.Sprint(n.Number, n.Ident)
			groups[id] = append(groups[id], n.Path)
		}
		if !n.Entry.IsDir() {
			return
		}
		if err := v.List(ctx, n, func(child repo.Node) error { walk(child); return nil }); err != nil {
			t.Errorf("%q: %v", n.Path, err)
		}
	}
	walk(v.Root())
	if seen != len(want) {
		t.Errorf("%d entries, the official tree has %d", seen, len(want))
	}
	for _, paths := range groups {
		if got, links := len(paths), int(want[paths[0]].NLink); got != links {
			t.Errorf("hard-link group %q: %d members, link count %d", paths, got, links)
		}
	}
}

// difference tells what of an entry is not as the official client shows it.
func difference(ctx context.Context, v *repo.Revision, n repo.Node, l repotest.Line) string {
	e := n.Entry
	got, want := describe(v, n), fmt.Sprintf("%c %04o %d:%d links %d time %d.%09d size %d %q %s",
		l.Type, l.Mode, l.UID, l.GID, l.NLink, l.Mtime, l.MtimeNsec, l.Size, l.Link, l.Rdev)
	if got != want {
		return "is " + got + ", want " + want
	}
	by, err := v.Lookup(ctx, n.Path)
	if err != nil {
		return err.Error()
	}
	if by.Path != n.Path || by.Entry.Path != e.Path || !by.Entry.IsDir() && (by.Number != n.Number || by.Ident != n.Ident) {
		return fmt.Sprintf("Lookup finds %+v, List %+v", by, n)
	}
	if n.Path == "" {
		return "" // the listing leaves out the root's attributes
	}
	if diff := attributes(ctx, v, n, l); diff != "" {
		return diff
	}
	if l.Type != 'f' {
		return ""
	}
	if e.Row%contentStep != 0 {
		return ""
	}
	if sum := content(ctx, v, n); sum != l.SHA256 {
		return "content has the hash " + sum + ", want " + l.SHA256
	}
	for name, want := range map[string]string{"hash": l.Hash, "chunks": l.Chunks, "compression": l.Compression} {
		value, err := v.Xattr(ctx, n, "user."+name)
		if string(value) != want || err != nil && (want != "" || !errors.Is(err, fs.ErrNotExist)) {
			return fmt.Sprintf("user.%s is %q (%v), want %q", name, value, err, want)
		}
	}
	return ""
}

func describe(v *repo.Revision, n repo.Node) string {
	e := n.Entry
	kinds := map[uint32]byte{unix.S_IFREG: 'f', unix.S_IFDIR: 'd', unix.S_IFLNK: 'l', unix.S_IFIFO: 'p', unix.S_IFSOCK: 's',
		unix.S_IFCHR: 'c', unix.S_IFBLK: 'b'}
	size, link, rdev := e.StatSize(), v.Readlink(n), ""
	if e.IsDir() {
		size = 0
	}
	if e.IsSymlink() {
		size = int64(len(link))
	}
	if e.IsDevice() {
		rdev = fmt.Sprintf("%d:%d", unix.Major(e.Rdev()), unix.Minor(e.Rdev()))
	}
	return fmt.Sprintf("%c %04o %d:%d links %d time %d.%09d size %d %q %s", kinds[e.Mode&unix.S_IFMT], e.Mode&0o7777,
		e.UID, e.GID, e.LinkCount, e.Mtime, max(e.MtimeNsec, 0), size, link, rdev)
}

func attributes(ctx context.Context, v *repo.Revision, n repo.Node, l repotest.Line) string {
	names, err := v.Xattrs(ctx, n)
	if err != nil {
		return err.Error()
	}
	if want := slices.Sorted(maps.Keys(l.Xattrs)); strings.Join(names, " ") != strings.Join(want, " ") {
		return fmt.Sprintf("attributes %q, want %q", names, want)
	}
	for _, name := range names {
		value, err := v.Xattr(ctx, n, name)
		if err != nil || string(value) != string(l.Xattrs[name]) {
			return fmt.Sprintf("attribute %s is %x (%v), want %x", name, value, err, l.Xattrs[name])
		}
	}
	return ""
}

// content hashes a file, read in pieces that do not fit chunks or pages.
func content(ctx context.Context, v *repo.Revision, n repo.Node) string {
	f, err := v.File(ctx, n)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, io.NewSectionReader(f, 0, f.Size()), make([]byte, 300_001)); err != nil {
		return err.Error()
	}
	return hex.EncodeToString(sum.Sum(nil))
}
