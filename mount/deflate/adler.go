package deflate

import (
	"encoding/binary"
	"hash"
)

// adler is the checksum of a zlib stream as a hash.Hash32, see addAdler.
type adler uint32

func newAdler() hash.Hash32 { a := adler(1); return &a }

func (a *adler) Write(p []byte) (int, error) {
	*a = adler(addAdler(uint32(*a), p))
	return len(p), nil
}

func (a *adler) Reset()              { *a = 1 }
func (a *adler) Sum32() uint32       { return uint32(*a) }
func (a *adler) Sum(b []byte) []byte { return binary.BigEndian.AppendUint32(b, uint32(*a)) }
func (*adler) Size() int             { return 4 }
func (*adler) BlockSize() int        { return 4 }
