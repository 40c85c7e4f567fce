package cas

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// ExportReport counts what Export did.
type ExportReport struct {
	Objects, Bytes int64
	Unchecked      int64  // of the objects: nothing tells whether they are what they were
	Corrupt        []Hash // left out
}

// exporter writes an archive.
type exporter struct {
	c      *Cache
	w      *bufio.Writer
	offset int64
	rows   []byte
	report ExportReport
}

// Export writes the objects of the cache into one file, see Archive, and replaces it only when all is written. visit, if not
// nil, sees each object before it is copied.
func (c *Cache) Export(ctx context.Context, path string, visit func(Entry)) (r ExportReport, err error) {
	entries, err := c.sorted(ctx)
	if err != nil {
		return r, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return r, fmt.Errorf("export: %w", err)
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	x := &exporter{c: c, w: bufio.NewWriterSize(f, 1<<20)}
	err = x.write(ctx, entries, visit)
	if err == nil {
		err = errors.Join(x.w.Flush(), f.Chmod(0o644), f.Sync())
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return x.report, fmt.Errorf("export %s: %w", path, err)
	}
	return x.report, nil
}

// sorted lists the cache in the order of the index.
func (c *Cache) sorted(ctx context.Context) ([]Entry, error) {
	var all []Entry
	err := c.List(ctx, func(e Entry) error {
		all = append(all, e)
		return nil
	})
	slices.SortFunc(all, func(a, b Entry) int {
		if n := bytes.Compare(a.Hash.sum[:], b.Hash.sum[:]); n != 0 {
			return n
		}
		return int(a.Hash.algorithm) - int(b.Hash.algorithm)
	})
	return all, err
}

func (x *exporter) write(ctx context.Context, entries []Entry, visit func(Entry)) error {
	var head [headSize]byte
	copy(head[:], archiveHead)
	if _, err := x.Write(head[:]); err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if visit != nil {
			visit(e)
		}
		if err := x.object(e); err != nil {
			return err
		}
	}
	return x.finish()
}

// Write counts.
func (x *exporter) Write(p []byte) (int, error) {
	n, err := x.w.Write(p)
	x.offset += int64(n)
	return n, err
}

// object copies one object. What turns out to be wrong, or was evicted meanwhile, gets no entry in the index.
func (x *exporter) object(e Entry) error {
	r := archiveRow{hash: e.Hash, pinned: e.Pinned, offset: x.offset}
	sum := sha256.New()
	good, known, err := x.c.check(e.Hash, io.MultiWriter(sum, x))
	if flushed := x.w.Flush(); flushed != nil { // the archive's disk is full, say
		return flushed
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil || known && !good:
		x.report.Corrupt = append(x.report.Corrupt, e.Hash)
		return nil
	case !known:
		x.report.Unchecked++
	}
	r.size = x.offset - r.offset
	sum.Sum(r.sum[:0])
	x.rows = r.append(x.rows)
	x.report.Objects, x.report.Bytes = x.report.Objects+1, x.report.Bytes+r.size
	return nil
}

// finish writes index, breadcrumbs and trailer.
func (x *exporter) finish() error {
	index, tail := x.offset, x.rows
	crumbs := 0
	for _, n := range x.c.Breadcrumbs() {
		line := fmt.Sprintf("%s %v\n", n.FQRN, n.Breadcrumb)
		crumbs += len(line)
		tail = append(tail, line...)
	}
	if crumbs > maxCrumbsBytes {
		return fmt.Errorf("breadcrumbs of more than %d bytes", maxCrumbsBytes)
	}
	if _, err := x.Write(tail); err != nil {
		return err
	}
	var t [trailerSize]byte
	for i, n := range []int64{index, int64(len(x.rows) / rowSize), int64(crumbs), x.offset + trailerSize} {
		binary.LittleEndian.PutUint64(t[8*i:], uint64(n))
	}
	sum := sha256.Sum256(tail)
	copy(t[32:], sum[:])
	copy(t[80:], archiveMagic)
	sum = sha256.Sum256(t[:96])
	copy(t[96:], sum[:])
	_, err := x.Write(t[:])
	return err
}

// ImportReport counts what Import did.
type ImportReport struct {
	Objects, Bytes int64
	Present        int64  // objects that the cache had already
	Damaged        []Hash // in the archive, left out
}

// Import copies the objects of an archive into the cache, and adopts its breadcrumbs. What is there already is passed over,
// so that an interrupted import can be taken up.
func (c *Cache) Import(ctx context.Context, a *Archive, visit func(Entry)) (r ImportReport, err error) {
	if err := c.writable(); err != nil {
		return r, err
	}
	if size, _ := a.Usage(); c.managed() && c.cfg.Limit > 0 && size > c.cfg.Limit {
		return r, fmt.Errorf("import %s: it holds %d bytes and the cache may have %d; raise cache: {limit: …}, or use the file as it is with cache: {lower: %s}",
			a.Path(), size, c.cfg.Limit, a.Path())
	}
	err = a.List(ctx, func(e Entry) error {
		if visit != nil {
			visit(e)
		}
		return c.importOne(a, Object{Hash: e.Hash, Size: e.Size, Pinned: e.Pinned}, &r)
	})
	if err == nil {
		err = c.Adopt(a.Breadcrumbs())
	}
	c.enforce(ctx)
	if err != nil {
		return r, fmt.Errorf("import %s: %w", a.Path(), err)
	}
	return r, nil
}

func (c *Cache) importOne(a *Archive, o Object, r *ImportReport) error {
	if c.has(o) {
		r.Present++
		return nil
	}
	err := c.keep(o, func(d *draft) error { return a.copy(o, d) })
	if errors.Is(err, ErrCorrupt) {
		r.Damaged = append(r.Damaged, o.Hash)
		return nil
	}
	if err != nil {
		return err
	}
	r.Objects, r.Bytes = r.Objects+1, r.Bytes+o.Size
	return nil
}
