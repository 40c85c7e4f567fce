// Package deflate reads and writes zlib and gzip streams: the form of a repository's objects and of an image's layers.
//
// Inflating is most of what a cold start computes, deflating most of what a publisher does. Built with the tag isal and
// cgo, as the Makefile does where libisal.a is installed or, with LINK=shared, libisal.so, the package uses Intel's ISA-L,
// which is three times as fast at both as the best Go code; without, klauspost/compress. Both read all streams. What they
// write differs, and with it the hashes of objects: one publisher should keep to one build, or contents that are stored
// twice are told apart.
//
// Objects that are all here go through Inflate: with the tag libdeflate, as the Makefile builds where that library is, three
// times as fast as klauspost's. Then a client has next to nothing left for ISA-L to do; a publisher has its streams.
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

// String returns the name of the format.
func (f Format) String() string {
	if f == Gzip {
		return "gzip"
	}
	return "zlib"
}
