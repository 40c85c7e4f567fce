package repo

import (
	"context"
	"fmt"
	"io"
	"os"
	"sort"
	"sync"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
)

// maxOpenParts bounds the descriptors that one open file of many chunks holds.
const maxOpenParts = 4

// File reads the content of a regular file, safe for concurrent use. Its objects
// are opened when they are first read.
type File struct {
	store cas.Store
	name  string
	size  int64
	parts []part

	mu     sync.Mutex
	open   []*openPart // most recently used last
	closed bool
}

// part is the object that holds the bytes from offset on.
type part struct {
	offset int64
	object cas.Object
}

type openPart struct {
	*os.File
	index, users int
	evicted      bool
}

// Objects lists the objects that hold a regular file's content, in their order;
// none for an empty file.
func (v *Revision) Objects(n Node) ([]cas.Object, error) {
	parts, err := v.parts(n)
	if err != nil {
		return nil, err
	}
	objects := make([]cas.Object, len(parts))
	for i, p := range parts {
		objects[i] = p.object
	}
	return objects, nil
}

func (v *Revision) parts(n Node) ([]part, error) {
	e := &n.Entry
	if !e.IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", n.Path)
	}
	if e.Size == 0 {
		return nil, nil
	}
	external := ""
	if e.Flags&catalog.External != 0 {
		external = n.CatalogPath()
	}
	if e.Flags&catalog.Chunked == 0 {
		if e.Hash.IsZero() {
			return nil, fmt.Errorf("%s: %w: it has no content hash", n.Path, catalog.ErrCorrupt)
		}
		return []part{{0, cas.Object{Hash: e.Hash, Compression: e.Compression, Size: e.Size, External: external}}}, nil
	}
	chunks, err := n.Catalog.Chunks(e.Path)
	if err != nil {
		return nil, err
	}
	parts := make([]part, len(chunks))
	for i, k := range chunks {
		parts[i] = part{k.Offset, cas.Object{Hash: k.Hash, Suffix: cas.PartialSuffix, Compression: e.Compression, Size: k.Size,
			External: external}}
		if external != "" {
			parts[i].object.Offset = k.Offset
		}
	}
	return parts, nil
}

// File opens a regular file. Nothing is fetched before the first read.
func (v *Revision) File(ctx context.Context, n Node) (*File, error) {
	parts, err := v.parts(n)
	if err != nil {
		return nil, err
	}
	return &File{store: v.repo.cfg.Store, name: n.Path, size: n.Entry.Size, parts: parts}, nil
}

// ReadFile reads a regular file whole. One of more than limit bytes is an error.
func (v *Revision) ReadFile(ctx context.Context, n Node, limit int64) ([]byte, error) {
	f, err := v.File(ctx, n)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.size > limit {
		return nil, fmt.Errorf("read %s: it has %d bytes, more than %d", n.Path, f.size, limit)
	}
	b := make([]byte, f.size)
	if n, err := f.ReadContext(ctx, b, 0); n < len(b) {
		return nil, err
	}
	return b, nil
}

// Size is the file's length in bytes.
func (f *File) Size() int64 { return f.size }

// ReadAt reads as io.ReaderAt says, waiting for the network as long as that takes.
func (f *File) ReadAt(p []byte, offset int64) (int, error) {
	return f.ReadContext(context.Background(), p, offset)
}

// ReadContext is ReadAt that ends with ctx. A read may cross chunks.
func (f *File) ReadContext(ctx context.Context, p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, fmt.Errorf("read %s: offset %d is negative", f.name, offset)
	}
	done := 0
	for done < len(p) {
		at := offset + int64(done)
		if at >= f.size {
			return done, io.EOF
		}
		// The parts tile the file, so the last one that starts at or before is it.
		i := sort.Search(len(f.parts), func(i int) bool { return f.parts[i].offset > at }) - 1
		n, err := f.readPart(ctx, i, p[done:], at-f.parts[i].offset)
		done += n
		if err != nil {
			return done, fmt.Errorf("read %s: %w", f.name, err)
		}
	}
	return done, nil
}

// readPart reads from one object, no further than its end.
func (f *File) readPart(ctx context.Context, i int, p []byte, offset int64) (int, error) {
	o, err := f.acquire(ctx, i)
	if err != nil {
		return 0, err
	}
	defer f.release(o)
	p = p[:min(int64(len(p)), f.parts[i].object.Size-offset)]
	n, err := o.ReadAt(p, offset)
	if err == io.EOF && n < len(p) {
		return n, fmt.Errorf("object %v: %w: the cached file is too short", f.parts[i].object, io.ErrUnexpectedEOF)
	}
	if n == len(p) {
		err = nil
	}
	return n, err
}

// acquire finds or opens the object of part i.
func (f *File) acquire(ctx context.Context, i int) (*openPart, error) {
	if o, err := f.use(i, nil); o != nil || err != nil {
		return o, err
	}
	file, err := f.store.Open(ctx, f.parts[i].object)
	if err != nil {
		return nil, err
	}
	return f.use(i, file)
}

// use counts a use of part i if it is open. Else it takes over file, if given.
func (f *File) use(i int, file *os.File) (*openPart, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for at, o := range f.open {
		if o.index == i {
			if file != nil { // another reader was faster
				file.Close()
			}
			copy(f.open[at:], f.open[at+1:])
			f.open[len(f.open)-1] = o
			o.users++
			return o, nil
		}
	}
	if file == nil {
		return nil, nil
	}
	if f.closed {
		file.Close()
		return nil, os.ErrClosed
	}
	o := &openPart{File: file, index: i, users: 1}
	f.open = append(f.open, o)
	if len(f.open) > maxOpenParts {
		f.open[0].evict()
		f.open = f.open[1:]
	}
	return o, nil
}

func (f *File) release(o *openPart) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o.users--
	if o.evicted && o.users == 0 {
		o.Close()
	}
}

// evict closes the object now, or when its last reader is done. It runs under the
// file's lock.
func (o *openPart) evict() {
	o.evicted = true
	if o.users == 0 {
		o.Close()
	}
}

// Close lets go of all objects. Reads in progress end normally.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range f.open {
		o.evict()
	}
	f.open, f.closed = nil, true
	return nil
}
