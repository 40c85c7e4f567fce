package deflate

import (
	"encoding/binary"
	"hash/adler32"
)

// MaxExact is how many bytes Exact takes: zlib makes one block of them.
const MaxExact = 16000

// Exact is the zlib stream that zlib itself makes of data at its default level, byte by byte. It is for the objects that the
// official replication unpacks and packs again under the name that they have, the certificate and the metainfo of a
// repository: made by any other compressor they would not be what that name says on a replica. data has up to MaxExact
// bytes.
func Exact(data []byte) []byte {
	out := bits{out: []byte{0x78, 0x9c}}
	out.block(data, lazyMatches(data))
	return binary.BigEndian.AppendUint32(out.out, adler32.Checksum(data))
}

// token is a byte of the data, or a copy of length bytes from distance bytes before.
type token struct {
	literal          byte
	length, distance int
}

// What zlib's default level allows itself.
const (
	minMatch = 3
	maxMatch = 258
	maxChain = 128  // earlier places with the same hash that are looked at
	maxLazy  = 16   // a match of this length is taken without looking at the next byte's
	goodLen  = 8    // after a match of this length a quarter of the chain will do
	niceLen  = 128  // a match of this length is not improved
	tooFar   = 4096 // a match of three bytes is not worth more distance
	hashBits = 15
)

// matcher finds what has been there before. Place 0 means none, so that nothing is ever matched with the first byte.
type matcher struct {
	window   []byte // the data and zeros, as comparisons run on beyond the end
	n        int
	head     [1 << hashBits]int // the last place of each hash
	prev     []int              // the place before, of the same hash
	at, best int                // of the last match
}

// insert notes a place and answers the one before it.
func (m *matcher) insert(i int) int {
	w := m.window
	h := (int(w[i])<<10 ^ int(w[i+1])<<5 ^ int(w[i+2])) & (1<<hashBits - 1)
	m.prev[i], m.head[h] = m.head[h], i
	return m.prev[i]
}

// longest looks for a match at i that is longer than length, from the place next on back.
func (m *matcher) longest(i, next, length int) {
	w, chain, nice := m.window, maxChain, min(niceLen, m.n-i)
	if length >= goodLen {
		chain /= 4
	}
	m.best = length
	for ; next > 0 && chain > 0; next, chain = m.prev[next], chain-1 {
		if w[next+m.best] != w[i+m.best] || w[next+m.best-1] != w[i+m.best-1] {
			continue
		}
		n := 0
		for n < maxMatch && w[next+n] == w[i+n] {
			n++
		}
		if n > m.best {
			if m.at, m.best = next, n; n >= nice {
				break
			}
		}
	}
	m.best = min(m.best, m.n-i)
}

// lazyMatches cuts data into tokens. A match is taken if the next byte has none that is longer.
func lazyMatches(data []byte) (tokens []token) {
	m := &matcher{window: append(data[:len(data):len(data)], make([]byte, maxMatch+minMatch)...), n: len(data), prev: make([]int, len(data))}
	m.best = minMatch - 1
	waiting := false // the byte before has not been written
	for i := 0; i < m.n; i++ {
		next := 0
		if i+minMatch <= m.n {
			next = m.insert(i)
		}
		before, from := m.best, m.at
		m.best = minMatch - 1
		if next > 0 && before < maxLazy {
			if m.longest(i, next, before); m.best == minMatch && i-m.at > tooFar {
				m.best = minMatch - 1
			}
		}
		switch {
		case before >= minMatch && m.best <= before:
			tokens = append(tokens, token{length: before, distance: i - 1 - from})
			for end := i + before - 2; i < end; {
				if i++; i+minMatch <= m.n {
					m.insert(i)
				}
			}
			waiting, m.best = false, minMatch-1
		case waiting:
			tokens = append(tokens, token{literal: data[i-1]})
		default:
			waiting = true
		}
	}
	if waiting {
		tokens = append(tokens, token{literal: data[m.n-1]})
	}
	return tokens
}

// bits writes numbers of some bits, the lowest first.
type bits struct {
	out  []byte
	hold uint64
	n    int
}

func (b *bits) put(v, n int) {
	b.hold |= uint64(v) << b.n
	for b.n += n; b.n >= 8; b.n -= 8 {
		b.out = append(b.out, byte(b.hold))
		b.hold >>= 8
	}
}

// flush fills the last byte.
func (b *bits) flush() {
	if b.n > 0 {
		b.put(0, 8-b.n)
	}
}
