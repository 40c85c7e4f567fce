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
	value, err := ask(fs, caller{cancel, in.Pid}, func(ctx context.Context) ([]byte, error) {
		rev, n, err := fs.repoNode(ctx, in.NodeId)
		if err != nil {
			return nil, err
		}
		value, err := rev.Xattr(ctx, n, name)
		if errors.Is(err, iofs.ErrNotExist) {
			return nil, errNoAttribute
		}
		return value, unavailable(err)
	})
	if err != nil {
		return 0, fs.answer(opGetXAttr, name, err)
	}
	return reply(value, dest)
}

// ListXAttr lists the names of the attributes; the magic ones on the root only.
func (fs *FS) ListXAttr(cancel <-chan struct{}, in *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	defer fs.counters.count(opListXAttr, time.Now())
	if in.NodeId != fuse.FUSE_ROOT_ID && !fs.hasXattrs(in.NodeId) {
		return 0, fuse.OK
	}
	names, err := ask(fs, caller{cancel, in.Pid}, func(ctx context.Context) ([]string, error) {
		rev, n, err := fs.repoNode(ctx, in.NodeId)
		if err != nil {
			return nil, err
		}
		names, err := rev.Xattrs(ctx, n)
		return names, unavailable(err)
	})
	if err != nil {
		return 0, fs.answer(opListXAttr, "", err)
	}
	var list []byte
	for _, name := range names {
		if !fs.hidden(name) {
			list = append(append(list, name...), 0)
		}
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
	return p == nil || p.generation != d.view.state.Load().generation || p.xattrs
}

// reply copies a value to where the kernel wants it, or tells its size.
func reply(value, dest []byte) (uint32, fuse.Status) {
	if len(value) > len(dest) {
		return uint32(len(value)), fuse.ERANGE
	}
	return uint32(copy(dest, value)), fuse.OK
}

// repoNode is the entry behind an id in the form that the repository takes, in the revision that its view shows.
func (fs *FS) repoNode(ctx context.Context, id uint64) (*repo.Revision, repo.Node, error) {
	st := fs.stateOf(id)
	if cat, row, ok := fs.numbers.byID(id); ok {
		if err := fs.load(ctx, cat); err != nil {
			return st.rev, repo.Node{}, err
		}
		n, err := st.rev.NodeAt(cat.opened, row)
		return st.rev, n, unavailable(err)
	}
	n, err := fs.node(ctx, st, id)
	if err != nil {
		return st.rev, repo.Node{}, err
	}
	return st.rev, n.tree.node(n.entry, n.path), nil
}
