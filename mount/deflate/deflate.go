// Package deflate reads and writes zlib and gzip streams: the form of a repository's objects and of an image's layers.
//
// Inflating is most of what a cold start computes, deflating most of what a publisher does. Three libraries of C may do it,
// by tags of the build: isal, Intel's ISA-L, both ways and fastest; libdeflate, what is whole in memory, both ways; without,
// there is code of Go. The Makefile sets the tags of the libraries that are installed. All read all streams. What they
// write differs, and with it the hashes of objects.
//
// Objects that are all here go through Inflate and Deflate. Readers and Writers are for catalogs and whatever else is too
// large for that. A publisher that has a file in a layer's gzip stream need not deflate it at all: a BlockReader tells of
// which blocks the stream is made, and Splice makes an object of them. No library hands these out at the speed that takes,
// which is why there is an inflater here. Its loop, in package symbols, is in assembly for x86-64, which takes 0.7 of the time of
// the same in Go.
//
// Readers are strict: all bytes of the source must belong to the stream, one zlib stream or one or more gzip members.
package deflate

import "errors"

// bufferSize is how much of a stream is held on its way, in bytes.
const bufferSize = 64 << 10

// Format is the wrapper around the deflated data.
type Format int

// The formats. Writers make Zlib only: nothing here writes gzip.
const (
	Zlib Format = iota // RFC 1950
	Gzip               // RFC 1952
)

// Errors of readers, besides those of the source and io.ErrUnexpectedEOF where it ends early.
var (
	ErrFormat   = errors.New("not deflated data")
	ErrChecksum = errors.New("checksum of the inflated data differs")
	ErrTrailing = errors.New("bytes follow the end of the deflated data")
	ErrLong     = errors.New("more inflated bytes than expected") // of Inflate
)

// Bound is how many bytes Deflate makes of n at most: what cannot be made smaller takes a little more.
func Bound(n int) int { return n + n/1000 + 64 }

// String returns the name of the format.
func (f Format) String() string {
	if f == Gzip {
		return "gzip"
	}
	return "zlib"
}
