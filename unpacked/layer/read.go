package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// Options are how a tar is read.
type Options struct {
	Scratch   string       // directory for temporary files; "": the system's
	Whiteouts bool         // ".wh." names remove what lower layers have; else they are names like any other
	Max       int64        // bytes that the entries may come to, see Read; 0: DefaultMax
	Warn      func(string) // told of what is left out; nil: nobody
	Source    *Plain       // what the reader gives is all of this; nil: it is something else
}

// Ingester takes the content of files: *publish.Tx.
type Ingester interface {
	Start(ctx context.Context, r io.Reader, size int64) (*publish.Pending, error)
}

// The names by which a layer's tar removes what lower layers have.
const (
	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
	metaPrefix     = ".wh..wh." // aufs's own files and directories: nothing of the image
)

// maxHardLinks bounds what a layer's hard links take in memory, some 200 bytes each.
const maxHardLinks = 1 << 20

// xattrRecord begins the PAX records that hold extended attributes.
const xattrRecord = "SCHILY.xattr."

// Read reads a tar to its end. Whatever cannot be a part of a tree, or wants to get out of it, is an error that names the
// entry: a path with "..", an entry below a file or link, a link to nothing, an unknown type.
//
// Against Max count the sizes of files, as their headers give them, and a block for each entry. Holes of sparse files
// count like what lies between them: reading them takes time, though zeros are stored once. What the tar itself comes to
// is bounded by Decompress.
func Read(ctx context.Context, to Ingester, r io.Reader, o Options) (*Rows, error) {
	o.Max = orDefault(o.Max)
	tr := tarReader{ctx: ctx, to: to, o: o, sorter: sorter{dir: o.Scratch}, allowance: allowance{o.Max, o.Max}}
	defer tr.sorter.close()
	tr.counter.R = r
	in := tar.NewReader(&tr.counter)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("tar after entry %d (%s): %w", tr.seq, tr.last, err)
		}
		if err := tr.entry(h, in); err != nil {
			return nil, fmt.Errorf("tar entry %q: %w", h.Name, err)
		}
	}
	if err := tr.spill(); err != nil {
		return nil, err
	}
	return tr.rows()
}

// tarReader turns entries into sorted records.
type tarReader struct {
	ctx     context.Context
	to      Ingester
	o       Options
	seq     uint32
	last    string
	batch   []record
	pending []pendingContent
	sorter  sorter
	links   []hardLink
	counter Counter

	allowance allowance
}

// pendingContent is the content of a record of the batch that workers are still at.
type pendingContent struct {
	index   int
	content *publish.Pending
}

func (t *tarReader) entry(h *tar.Header, content io.Reader) error {
	if err := t.ctx.Err(); err != nil {
		return err
	}
	if t.seq == math.MaxUint32 {
		return errors.New("more entries than can be counted")
	}
	t.seq++
	t.last = h.Name
	if err := t.allowance.take(max(h.Size, 0)); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	p, err := clean(h.Name)
	if err != nil {
		return err
	}
	m := t.mark(p)
	if m == entry && t.o.Whiteouts && strings.HasPrefix(path.Base(p), whiteoutPrefix) {
		return t.whiteout(p)
	}
	if h.Typeflag == tar.TypeLink {
		return t.link(p, h.Linkname)
	}
	if m == aside && h.Typeflag != tar.TypeReg {
		return nil
	}
	if !isID(h.Uid) || !isID(h.Gid) {
		return fmt.Errorf("owner %d:%d: no ids of a user and a group", h.Uid, h.Gid)
	}
	r := record{seq: t.seq, mark: m, item: publish.Item{Path: p, Entry: t.attributes(h)}}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		r.item.Entry.Mode |= unix.S_IFREG
		c, err := t.to.Start(t.ctx, t.source(content), h.Size)
		if err != nil {
			return err
		}
		t.pending = append(t.pending, pendingContent{len(t.batch), c})
	case tar.TypeDir:
		r.item.Entry.Mode |= unix.S_IFDIR
	case tar.TypeSymlink:
		r.item.Entry.Mode |= unix.S_IFLNK
		r.item.Entry.Symlink = h.Linkname
	case tar.TypeChar, tar.TypeBlock:
		r.item.Entry.Mode |= unix.S_IFCHR
		if h.Typeflag == tar.TypeBlock {
			r.item.Entry.Mode ^= unix.S_IFCHR ^ unix.S_IFBLK
		}
		r.item.Entry.Size = int64(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)))
	case tar.TypeFifo:
		r.item.Entry.Mode |= unix.S_IFIFO
	default:
		return fmt.Errorf("unknown type %q", h.Typeflag)
	}
	if p == "" && !r.item.Entry.IsDir() {
		return errors.New("the root is not a directory")
	}
	return t.add(r)
}

func (t *tarReader) add(r record) error {
	t.batch = append(t.batch, r)
	if len(t.batch) < runLength {
		return nil
	}
	return t.spill()
}

// spill waits for the batch's contents and writes it out as a sorted run.
func (t *tarReader) spill() error {
	for _, p := range t.pending {
		c, err := p.content.Wait()
		if err != nil {
			return fmt.Errorf("store %s: %w", t.batch[p.index].item.Path, err)
		}
		c.Apply(&t.batch[p.index].item)
	}
	err := t.sorter.run(t.batch)
	t.batch, t.pending = t.batch[:0], t.pending[:0]
	return err
}

// whiteout reads a name by which a lower layer's entry is removed.
func (t *tarReader) whiteout(p string) error {
	dir, name := path.Split(p)
	dir = strings.TrimSuffix(dir, "/")
	switch {
	case name == opaqueName:
		return t.add(record{seq: t.seq, mark: opaque, item: publish.Item{Path: dir, Entry: impliedDir(0)}})
	case strings.HasPrefix(name, metaPrefix):
		return nil
	}
	name = strings.TrimPrefix(name, whiteoutPrefix)
	if name == "" || name == "." || name == ".." {
		return errors.New("a whiteout of nothing")
	}
	return t.add(record{seq: t.seq, mark: whiteout, item: publish.Item{Path: dir + "/" + name, Entry: catalog.Entry{Mode: unix.S_IFCHR, MtimeNsec: -1}}})
}

// mark tells the entries of the tree from what lies in aufs's own directories. In one of them, .wh..wh.plnk, aufs kept
// the files that have several names: in a layer's tar these names are hard links to it.
func (t *tarReader) mark(p string) mark {
	if t.o.Whiteouts && strings.Contains(path.Dir(p), "/"+metaPrefix) {
		return aside
	}
	return entry
}

// link remembers a hard link; its file's record may be out of memory by now.
func (t *tarReader) link(p, target string) error {
	to, err := clean(target)
	if err != nil {
		return fmt.Errorf("links to %q: %w", target, err)
	}
	if p == "" {
		return errors.New("the root is not a directory")
	}
	if to == "" {
		return errors.New("a hard link to the root")
	}
	if to == p {
		return nil // GNU tar writes one for a file named twice on its command line
	}
	if len(t.links) == maxHardLinks {
		return fmt.Errorf("more than %d hard links", maxHardLinks)
	}
	t.links = append(t.links, hardLink{p, to, t.seq, t.mark(p)})
	return nil
}

// isID tells the numbers of users and groups; -2 and its like are 32 bits with a sign.
func isID(n int) bool { return n >= math.MinInt32 && n <= math.MaxUint32 }

// clean is a name in a tar as a path of the tree: "" or "/a/b".
func clean(name string) (string, error) {
	if strings.IndexByte(name, 0) >= 0 {
		return "", errors.New("a zero byte in the name")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", errors.New("the path climbs out of the tree with ..: refused")
		}
		if len(part) > 255 {
			return "", errors.New("a component of the path has more than 255 bytes")
		}
	}
	p := path.Clean("/" + name)
	if p == "/" {
		return "", nil
	}
	return p, nil
}

// attributes are those of any type of entry. Times without a fraction have none: an old tar has no more than seconds.
func (t *tarReader) attributes(h *tar.Header) catalog.Entry {
	e := catalog.Entry{
		Mode: uint32(h.Mode) & 0o7777, UID: uint32(h.Uid), GID: uint32(h.Gid),
		Mtime: h.ModTime.Unix(), MtimeNsec: int32(h.ModTime.Nanosecond()),
	}
	if e.MtimeNsec == 0 {
		e.MtimeNsec = -1
	}
	for k, v := range h.PAXRecords {
		name, ok := strings.CutPrefix(k, xattrRecord)
		if !ok || t.o.Whiteouts && (strings.Contains(name, ".overlay.") || IsMark(name)) {
			continue // such an attribute in a layer's tar would play tricks on those who stack or merge it
		}
		if len(name) > 255 || len(v) > 255 || len(e.Xattrs) == 255 {
			t.warn("%s: attribute %s left out: a catalog holds 255 attributes of 255 bytes", h.Name, name)
			continue
		}
		if e.Xattrs == nil {
			e.Xattrs = map[string][]byte{}
		}
		e.Xattrs[name] = []byte(v)
	}
	return e
}

func (t *tarReader) warn(format string, args ...any) {
	if t.o.Warn != nil {
		t.o.Warn(fmt.Sprintf(format, args...))
	}
}
