package fusefs

import (
	"context"
	"errors"
	iofs "io/fs"
	"os"
	"strings"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/flatrun/flatrun/mount/repo"
)

// GetXAttr answers an extended attribute, the magic ones of the repository among them.
//
// The kernel asks for security.capability and ACLs at every exec and listing and remembers no answer, so that nothing of
// the kind is there must be told without a query: the id says so.
func (fs *FS) GetXAttr(cancel <-chan struct{}, in *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	defer fs.counters.count(opGetXAttr, time.Now())
	if !magical(name) && !fs.hasXattrs(in.NodeId) || name == fileCapability && fs.noCapabilities {
		return 0, fuse.ENODATA
	}
	var value []byte
	path, err := fs.xattr(kernel(cancel, in.Pid), in.NodeId, func(ctx context.Context, rev *repo.Revision, n repo.Node) (err error) {
		value, err = rev.Xattr(ctx, n, name)
		return err
	})
	if err != nil {
		return 0, fs.answer(opGetXAttr, path, err)
	}
	return reply(value, dest)
}

// ListXAttr lists the names of the attributes; the magic ones on the root only.
func (fs *FS) ListXAttr(cancel <-chan struct{}, in *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	defer fs.counters.count(opListXAttr, time.Now())
	if in.NodeId != fuse.FUSE_ROOT_ID && !fs.hasXattrs(in.NodeId) {
		return 0, fuse.OK
	}
	var list []byte
	path, err := fs.xattr(kernel(cancel, in.Pid), in.NodeId, func(ctx context.Context, rev *repo.Revision, n repo.Node) error {
		names, err := rev.Xattrs(ctx, n)
		for _, name := range names {
			if !fs.hidden(name) {
				list = append(append(list, name...), 0)
			}
		}
		return err
	})
	if err != nil {
		return 0, fs.answer(opListXAttr, path, err)
	}
	return reply(list, dest)
}

// fileCapability is the attribute that holds a program's capabilities.
const fileCapability = "security.capability"

// hidden tells which attributes are not listed: those that only the machine's root can read, which other file systems hide
// from all others, and those that the kernel would refuse to show.
func (fs *FS) hidden(name string) bool {
	return fs.uid != 0 && strings.HasPrefix(name, "trusted.") || name == fileCapability && fs.noCapabilities
}

// rootMapped tells whether the process's user namespace has a uid 0. A mount of a namespace without one cannot show file
// capabilities: they belong to that namespace's root, and the kernel answers EOVERFLOW, on which overlayfs would refuse to
// copy the file up.
func rootMapped() bool {
	uids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(uids)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "0" {
			return true
		}
	}
	return false
}

// magical tells whether an entry without attributes can have one of this name.
func magical(name string) bool {
	return strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "xfsroot.")
}

// hasXattrs tells whether the catalog has attributes for the id; true where that takes a query to find out.
func (fs *FS) hasXattrs(id uint64) bool {
	if !isDir(id) {
		return id&xattrBit != 0
	}
	d := fs.dirs.get(id)
	if d == nil {
		return false
	}
	p := d.place.Load()
	return p == nil || p.generation != fs.state.Load().generation || p.xattrs
}

// reply copies a value to where the kernel wants it, or tells its size.
func reply(value, dest []byte) (uint32, fuse.Status) {
	if len(value) > len(dest) {
		return uint32(len(value)), fuse.ERANGE
	}
	return uint32(copy(dest, value)), fuse.OK
}

// xattr runs a query about the attributes of the entry behind an id.
func (fs *FS) xattr(who caller, id uint64, query func(context.Context, *repo.Revision, repo.Node) error) (path string, err error) {
	st := fs.state.Load()
	n, err := fs.repoNode(who, st, id)
	if err != nil {
		return n.Path, err
	}
	err = fs.waiting(who, func(ctx context.Context) error { return query(ctx, st.rev, n) })
	if errors.Is(err, iofs.ErrNotExist) && !errors.As(err, new(errUnavailable)) {
		return n.Path, errNoAttribute
	}
	return n.Path, unavailable(err)
}

// repoNode is the entry behind an id in the form that the repository takes.
func (fs *FS) repoNode(who caller, st *state, id uint64) (repo.Node, error) {
	if cat, row, ok := fs.numbers.byID(id); ok {
		n, err := st.rev.NodeAt(uint32(cat.number), row)
		return n, unavailable(err)
	}
	n, err := fs.node(who, st, id)
	if err != nil {
		return repo.Node{Path: n.path}, err
	}
	return n.tree.node(n.entry, n.path), nil
}
