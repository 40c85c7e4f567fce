package fusefs

import (
	"container/list"
	"context"
	"fmt"
	"io"
	"sort"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/repo"
)

// Read answers bytes of a file. There is no OPEN: everything follows from the id.
func (fs *FS) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	defer fs.counters.count(opRead, time.Now())
	st := fs.head.state.Load() // for what an id means any revision does
	who := caller{cancel, in.Pid}
	c := fs.contents.get(in.NodeId)
	if c == nil {
		var err error
		c, err = ask(fs, who, func(ctx context.Context) (*content, error) { return fs.content(ctx, st, in.NodeId) })
		if err != nil {
			return nil, fs.answer(opRead, "", err)
		}
	}
	n, err := fs.readAt(who, c, buf, int64(in.Offset))
	if err != nil {
		return nil, fs.answer(opRead, c.path(), err)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// content is what a file's bytes come from: objects that tile [0, size).
type content struct {
	id      uint64
	size    int64
	objects []cas.Object
	offsets []int64 // of each object in the file
	path    func() string
}

// piece finds the object that holds the byte at off, which lies within the file.
func (c *content) piece(off int64) int {
	return sort.Search(len(c.offsets), func(i int) bool { return c.offsets[i] > off }) - 1
}

// readAt fills buf from off on, less only at the end of the file.
func (fs *FS) readAt(who caller, c *content, buf []byte, off int64) (int, error) {
	if off >= c.size {
		return 0, nil
	}
	buf = buf[:min(int64(len(buf)), c.size-off)]
	done := 0
	for done < len(buf) {
		i := c.piece(off + int64(done))
		within := off + int64(done) - c.offsets[i]
		want := buf[done:]
		if rest := c.objects[i].Size - within; int64(len(want)) > rest {
			want = want[:rest]
		}
		if err := fs.readPiece(who, c, i, want, within); err != nil {
			return 0, err
		}
		done += len(want)
	}
	return done, nil
}

// readPiece fills buf from object i of the content.
func (fs *FS) readPiece(who caller, c *content, i int, buf []byte, off int64) error {
	o := c.objects[i]
	obj := fs.objects.get(o)
	if obj == nil {
		if fs.onRead != nil {
			if done := fs.onRead(Access{Path: c.path, Objects: c.objects, Index: i}); done != nil {
				defer done()
			}
		}
		start := time.Now()
		err := fs.waiting(who, func(ctx context.Context) (err error) {
			obj, err = fs.objects.openObject(ctx, o)
			return err
		})
		if err != nil {
			return err
		}
		fs.slowest.add(o, c.path, time.Since(start))
	}
	defer fs.objects.put(obj)
	n, err := obj.file.ReadAt(buf, off)
	if n == len(buf) {
		return nil
	}
	// The kernel would fill up a short answer with zeros.
	if err == nil || err == io.EOF {
		err = fmt.Errorf("object %s: %w: ends at byte %d, its catalog says %d", o, cas.ErrCorrupt, off+int64(n), o.Size)
	}
	return unavailable(err)
}

// contents keeps the content of the files read last, by node id.
type contents struct {
	mu     sync.Mutex
	byID   map[uint64]*list.Element // of *content
	recent list.List
	pieces int
}

// maxPieces bounds the objects named in the table: about 100 bytes each.
const maxPieces = 8192

func (t *contents) get(id uint64) *content {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byID[id]
	if e == nil {
		return nil
	}
	t.recent.MoveToFront(e)
	return e.Value.(*content)
}

func (t *contents) put(c *content) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID == nil {
		t.byID = make(map[uint64]*list.Element)
	}
	if t.byID[c.id] != nil {
		return // another reader was faster
	}
	t.byID[c.id] = t.recent.PushFront(c)
	t.pieces += 1 + len(c.objects)
	for t.pieces > maxPieces && t.recent.Len() > 1 {
		old := t.recent.Remove(t.recent.Back()).(*content)
		delete(t.byID, old.id)
		t.pieces -= 1 + len(old.objects)
	}
}

// content finds what the file with the id consists of.
func (fs *FS) content(ctx context.Context, st *state, id uint64) (*content, error) {
	if isDir(id) {
		return nil, syscall.EISDIR
	}
	n, err := fs.node(ctx, st, id)
	if err != nil {
		return nil, err
	}
	if !n.entry.IsRegular() {
		return nil, syscall.EINVAL
	}
	c, err := newContent(st, id, &n)
	if err != nil {
		return nil, unavailable(err)
	}
	fs.contents.put(c)
	return c, nil
}

// newContent asks the catalog what the file's objects are.
func newContent(st *state, id uint64, n *node) (*content, error) {
	where := repo.Node{Catalog: n.cat.Catalog, CatalogHash: n.cat.hash, Entry: n.entry}
	if n.entry.Flags&catalog.External != 0 { // only external data is named by its path, which takes a walk up the tree
		var err error
		if where, err = st.rev.NodeAt(n.cat.opened, n.entry.Row); err != nil {
			return nil, err
		}
	}
	objects, err := st.rev.Objects(where)
	if err != nil {
		return nil, err
	}
	c := &content{id: id, size: n.entry.Size, objects: objects, offsets: make([]int64, len(objects))}
	next := int64(0)
	for i, o := range objects {
		c.offsets[i] = next
		next += o.Size
	}
	if next != c.size {
		return nil, fmt.Errorf("catalog %s: %w: row %d: objects of %d bytes make a file of %d", n.cat.hash, catalog.ErrCorrupt,
			n.entry.Row, next, c.size)
	}
	cat, entry := n.cat, n.entry
	c.path = func() string {
		path, _ := cat.Path(entry) // for messages and guesses only
		return path
	}
	return c, nil
}
