package publish

import (
	"bytes"
	"math"
)

// ChunkSizes bounds the pieces that large files are cut into, in bytes.
type ChunkSizes struct{ Min, Avg, Max int }

// defaultChunks are those of the official server.
var defaultChunks = ChunkSizes{Min: 4 << 20, Avg: 8 << 20, Max: 16 << 20}

// chunkWindow is the number of bytes that the detector's state depends on:
// each one is shifted out of the 32 bit state after 32 steps.
const chunkWindow = 32

// A detector finds cut points by content, where the official server would
// (xor32, chunk_detector.cc), so that both cut the same file alike and share
// its pieces.
type detector struct {
	sizes     ChunkSizes
	threshold int32
	n         int    // bytes since the last cut
	x         uint32 // state over the last 32 bytes
}

func newDetector(s ChunkSizes) *detector {
	return &detector{sizes: s, threshold: int32(uint32(math.MaxUint32) / uint32(s.Avg))}
}

// cut feeds b and returns the offset in b before which a chunk ends, after
// which the bytes from that offset on must be fed anew; or -1 if all of b
// belongs to the present chunk.
func (d *detector) cut(b []byte) int {
	i := 0
	if warm := d.sizes.Min - chunkWindow; d.n < warm { // bytes that leave no trace in x
		i = min(warm-d.n, len(b))
		d.n += i
	}
	for ; i < len(b) && d.n < d.sizes.Min; i++ {
		d.x = d.x<<1 ^ uint32(b[i])
		d.n++
	}
	x, end := d.x, min(len(b), i+d.sizes.Max-d.n)
	for from := i; from < end; {
		block := b[from:min(from+len(zeros), end)]
		if x == 0 && isZero(block) { // leaves x as it is, which is no cut
			from += len(block)
			continue
		}
		for j, c := range block {
			x = x<<1 ^ uint32(c)
			// The official test is abs(int32(x) - MaxInt32) < threshold in
			// wrapping arithmetic, where the absolute value of MinInt32 is
			// itself and so passes.
			diff := int32(x) - math.MaxInt32
			if diff < 0 {
				diff = -diff
			}
			if diff < d.threshold {
				d.n, d.x = 0, 0
				return from + j
			}
		}
		from += len(block)
	}
	d.x = x
	d.n += end - i
	if d.n == d.sizes.Max && end < len(b) {
		d.n, d.x = 0, 0
		return end
	}
	return -1
}

// zeros is a block of what the holes of sparse files read as.
var zeros [4 << 10]byte

// isZero tells whether all of b is zero, at the speed of memory.
func isZero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), len(zeros))
		if !bytes.Equal(b[:n], zeros[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}
