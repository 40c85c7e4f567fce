package catalog

import (
	"crypto/md5"
	"encoding/binary"
	"path"
	"strings"
)

// PathHash is the MD5 of an absolute path inside a repository, split into the
// two little-endian signed halves that the catalog columns hold. It names
// entries; it secures nothing.
type PathHash struct{ A, B int64 }

// HashPath hashes an absolute path: "" is the repository's root, every other
// path starts with "/" and does not end in one.
func HashPath(p string) PathHash {
	sum := md5.Sum([]byte(p))
	return PathHash{
		A: int64(binary.LittleEndian.Uint64(sum[:8])),
		B: int64(binary.LittleEndian.Uint64(sum[8:])),
	}
}

// HashParent hashes the directory that holds p; the root's parent is the zero
// hash.
func HashParent(p string) PathHash {
	if p == "" {
		return PathHash{}
	}
	return HashPath(Parent(p))
}

// Parent is the directory that holds the absolute path p, "" for the root and
// for what lies in it.
func Parent(p string) string {
	return p[:max(strings.LastIndexByte(p, '/'), 0)]
}

// Clean turns any spelling of a path ("a/b/", "/a//b", ".", "/") into the
// catalog's: "" or "/a/b".
func Clean(p string) string {
	if c := path.Clean("/" + p); c != "/" {
		return c
	}
	return ""
}
