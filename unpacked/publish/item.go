package publish

import (
	"fmt"
	"strings"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
)

// Item is one row of a tree.
//
// Of its Entry a stream sets what the file is: Mode, Symlink, UID, GID, Mtime,
// MtimeNsec, Xattrs, Flags Hidden, LinkGroup, and for regular files what
// Content.Apply sets. Name, path hashes, type flags and the link counts of
// directories are filled in by the transaction. Members of a hard-link group
// lie in one directory and carry the same non-zero LinkGroup, which is unique
// within that directory; LinkCount is counted.
type Item struct {
	Path   string // absolute in the repository; "" is its root
	Entry  catalog.Entry
	Chunks []catalog.Chunk
}

// Content is what ingesting a file's bytes made of them.
type Content struct {
	Hash        cas.Hash // zero if the file was cut into chunks
	Algorithm   cas.Algorithm
	Size        int64 // bytes, uncompressed
	Compression cas.Compression
	Chunks      []catalog.Chunk // they tile [0, Size)
}

// Apply makes c the content of a regular file's item.
func (c Content) Apply(it *Item) {
	e := &it.Entry
	e.Hash, e.Size, e.Compression, e.Algorithm = c.Hash, c.Size, c.Compression, c.Algorithm
	it.Chunks = c.Chunks
	e.Flags &^= catalog.Chunked | catalog.External
	if len(c.Chunks) > 0 {
		e.Flags |= catalog.Chunked
	}
}

// ComparePaths is the order of streams: a directory comes before what lies in
// it, and all of that before the directory's next sibling. It is the order of
// bytes, but for "/", which sorts before every other one.
func ComparePaths(a, b string) int {
	for i := range min(len(a), len(b)) {
		if x, y := a[i], b[i]; x != y {
			switch {
			case x == '/':
				return -1
			case y == '/' || x > y:
				return 1
			}
			return -1
		}
	}
	return len(a) - len(b)
}

// below tells whether p is dir or lies in it.
func below(p, dir string) bool {
	return strings.HasPrefix(p, dir) && (len(p) == len(dir) || p[len(dir)] == '/')
}

// checkPath refuses what is no canonical absolute path in a repository.
func checkPath(p string) error {
	if catalog.Clean(p) != p {
		return fmt.Errorf("path %q: want an absolute path without . and .. components and no slash at its end", p)
	}
	if strings.IndexByte(p, 0) >= 0 {
		return fmt.Errorf("path %q: contains a zero byte", p)
	}
	return nil
}
