//go:build !libdeflate || !cgo

package deflate

import "hash/adler32"

// adler is the checksum of a zlib stream of data.
func adler(data []byte) uint32 { return adler32.Checksum(data) }
