package fusefs

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/repo"
)

// The layout of node ids, see the package comment. Numbers start at 1, so no file's id is the root's.
const (
	dirBit      = uint64(1) << 63
	numberShift = 34
	maxNumber   = 1<<(63-numberShift) - 1
	xattrBit    = uint64(1) << 33
	rowMask     = xattrBit - 1
)

// rootInode is the root's inode number, as with the official client.
const rootInode = 256

// numbered is a catalog that has node ids. One that an earlier server gave them is opened when it is needed, see FS.load:
// until then it has no Catalog.
type numbered struct {
	*catalog.Catalog
	hash   cas.Hash
	prefix string      // of a catalog that is to be opened
	lost   atomic.Bool // it could not be: not worth a second try for the sake of an old id
	number uint64
	opened uint32       // the repository's number for it
	base   uint64       // inode number of row 0
	rows   uint64       // how many inode numbers from base on are its own
	known  atomic.Int64 // answers with its ids that the kernel has not forgotten
}

// id is the node id of the row.
func (n *numbered) id(row int64, xattrs bool) (uint64, error) {
	if row <= 0 || uint64(row) > rowMask {
		return 0, fmt.Errorf("catalog %s: %w: row %d has no node id", n.hash, catalog.ErrCorrupt, row)
	}
	id := n.number<<numberShift | uint64(row)
	if xattrs {
		id |= xattrBit
	}
	return id, nil
}

// inode is the row's st_ino. It stays within 32 bits for the first four thousand million rows: old programs that were built
// for 32 bits fail with EOVERFLOW on larger ones.
func (n *numbered) inode(row int64) uint64 {
	if uint64(row) < n.rows {
		return n.base + uint64(row)
	}
	return n.number<<numberShift | uint64(row)
}

// row reads the entry at a row that must be there.
func (n *numbered) row(row int64) (catalog.Entry, error) {
	e, found, err := n.Row(row)
	if err == nil && !found {
		err = fmt.Errorf("catalog %s: %w: no row %d", n.hash, catalog.ErrCorrupt, row)
	}
	return e, unavailable(err)
}

// numbers knows the catalogs by their numbers, which are given once for each hash and never again.
type numbers struct {
	mu       sync.RWMutex
	all      map[uint64]*numbered
	opened   map[uint32]*numbered   // by the repository's number, which is another one after a restart of the server
	unopened map[cas.Hash]*numbered // numbered by an earlier server and not needed so far
	last     uint64                 // number given
	next     uint64                 // free inode numbers start here
	memory   *notebook
}

func newNumbers() *numbers {
	return &numbers{all: make(map[uint64]*numbered), opened: make(map[uint32]*numbered), unopened: make(map[cas.Hash]*numbered), next: rootInode}
}

// get answers the numbering of the node's catalog.
func (t *numbers) get(n repo.Node) (*numbered, error) {
	t.mu.RLock()
	known, last := t.opened[n.Number], t.last
	t.mu.RUnlock()
	if known != nil {
		return known, nil
	}
	if last >= maxNumber {
		return nil, fmt.Errorf("catalog %s: number %d has no node ids; mount the repository anew", n.CatalogHash, last+1)
	}
	s, err := n.Catalog.Statistics()
	if err != nil {
		return nil, err
	}
	return t.add(&numbered{Catalog: n.Catalog, hash: n.CatalogHash, opened: n.Number, rows: inodes(s.Self)}), nil
}

// inodes is how many inode numbers to set aside. Row ids have gaps where entries were removed, up to a quarter of them
// before the official server packs its catalogs.
func inodes(c catalog.Counters) uint64 {
	return uint64(min(max(c.Entries(), 0), 1<<30))*3/2 + 256
}

func (t *numbers) add(n *numbered) *numbered {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.opened[n.opened]; known != nil { // another request was faster
		return known
	}
	if known := t.unopened[n.hash]; known != nil {
		delete(t.unopened, n.hash)
		known.Catalog, known.opened = n.Catalog, n.opened
		t.opened[n.opened] = known
		return known
	}
	t.last++
	n.number, n.base = t.last, t.next
	t.next += n.rows
	t.all[n.number], t.opened[n.opened] = n, n
	if t.memory != nil {
		t.memory.note(noteCatalog, []uint64{n.number, n.base, n.rows}, n.hash.String(), n.Prefix())
	}
	return n
}

// recall enters a catalog with the numbers that an earlier server gave it, and keeps them from being given again.
func (t *numbers) recall(n *numbered) {
	t.last, t.next = max(t.last, n.number), max(t.next, n.base+n.rows)
	t.all[n.number], t.unopened[n.hash] = n, n
}

// load makes sure that the catalog is open. One that is neither cached nor to be fetched now is an error, and may be there
// the next time.
func (fs *FS) load(ctx context.Context, n *numbered) error {
	fs.numbers.mu.RLock()
	open := n.Catalog != nil
	fs.numbers.mu.RUnlock()
	if open {
		return nil
	}
	c, err := fs.repo.Head().Catalog(ctx, n.hash, -1, n.prefix)
	if err != nil {
		return unavailable(err)
	}
	fs.numbers.add(&numbered{Catalog: c, hash: n.hash, opened: fs.openedAs(n.hash)})
	return nil
}

// byID finds the catalog and row of a file's id.
func (t *numbers) byID(id uint64) (n *numbered, row int64, ok bool) {
	if id&dirBit != 0 {
		return nil, 0, false
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	n, ok = t.all[id>>numberShift]
	return n, int64(id & rowMask), ok
}

// isDir tells ids of directories from all others.
func isDir(id uint64) bool { return id == fuse.FUSE_ROOT_ID || id&dirBit != 0 }
