package catalog

import (
	"fmt"
	"math"

	"zombiezen.com/go/sqlite"

	"github.com/flatrun/flatrun/mount/cas"
)

// Chunk is one part of a large file, an object of its own.
type Chunk struct {
	Offset, Size int64 // bytes of the file it holds
	Hash         cas.Hash
}

// Chunks lists the chunks of the file with the path hash p, by offset. They
// cover the file without gap or overlap; a catalog where they do not is corrupt.
func (c *Catalog) Chunks(p PathHash) ([]Chunk, error) {
	e, found, err := c.Lookup(p)
	if err != nil {
		return nil, err
	}
	if !found || e.Flags&Chunked == 0 || c.layout.chunks == "" {
		return nil, fmt.Errorf("catalog %s: %w: entry %q has no chunks", c.name, ErrCorrupt, e.Name)
	}
	chunks, err := c.chunks(e)
	if err == nil {
		err = checkChunks(chunks, e.Size)
	}
	if err != nil {
		return nil, fmt.Errorf("catalog %s: %w: entry %q: %w", c.name, ErrCorrupt, e.Name, err)
	}
	return chunks, nil
}

func (c *Catalog) chunks(e Entry) (chunks []Chunk, err error) {
	err = c.with(func(k *conn) error {
		return query(k.Conn, c.layout.chunks,
			func(s *sqlite.Stmt) {
				s.BindInt64(1, e.Path.A)
				s.BindInt64(2, e.Path.B)
			},
			func(row *sqlite.Stmt) error {
				h, err := columnHash(row, 2, e.Algorithm)
				chunks = append(chunks, Chunk{Offset: row.ColumnInt64(0), Size: row.ColumnInt64(1), Hash: h})
				return err
			})
	})
	return chunks, err
}

// checkChunks makes sure that chunks cover [0, size) exactly.
func checkChunks(chunks []Chunk, size int64) error {
	next := int64(0)
	for i, k := range chunks {
		if k.Hash.IsZero() {
			return fmt.Errorf("chunk %d has no hash", i)
		}
		if k.Offset != next || k.Size < 0 || k.Size > math.MaxInt64-next || k.Size == 0 && size > 0 {
			return fmt.Errorf("chunk %d is [%d, +%d) where [%d, …) is due", i, k.Offset, k.Size, next)
		}
		next += k.Size
	}
	if len(chunks) == 0 || next != size {
		return fmt.Errorf("%d chunks cover %d of its %d bytes", len(chunks), next, size)
	}
	return nil
}
