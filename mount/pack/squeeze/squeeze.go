// Package squeeze makes zstd frames as small as they get, for what is written once and fetched by many.
//
// Built with the tag libzstd and cgo, as the Makefile does where that library is, it is the C library that does it: it takes
// its time, a second of a processor for each megabyte, and makes frames an eighth smaller than klauspost/compress, which does
// it otherwise. A client reads both alike.
package squeeze

// windowLog is how far apart similar bytes may be, as a power of two: 16 MiB, which is also what a reader has to remember.
const windowLog = 24
