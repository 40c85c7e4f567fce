package deflate

import (
	mathbits "math/bits"

	"github.com/flatrun/flatrun/mount/deflate/symbols"
)

const (
	maxLiterals  = 288 // symbols for literals, lengths and the end of a block, with the two of the fixed code that mean nothing
	maxDistances = 32
	maxCode      = 15 // bits

	lengthBits = 7 // of the table for the code of lengths
)

// The entries of all symbols, without the bits of their codes.
var (
	literalEntries  = makeLiterals()
	distanceEntries = makeDistances()
	lengthEntries   = makeLengths()
)

func makeLiterals() (t [maxLiterals]uint32) {
	for i := range 256 {
		t[i] = symbols.IsLiteral | uint32(i)<<16
	}
	t[endOfBlock] = symbols.IsSpecial | symbols.IsEnd
	for length := maxMatch; length >= minMatch; length-- {
		symbol, value, n := lengthSymbol(length)
		t[symbol] = uint32(length-value)<<16 | uint32(n)
	}
	t[286], t[287] = symbols.IsSpecial, symbols.IsSpecial
	return t
}

func makeDistances() (t [maxDistances]uint32) {
	base := uint32(1)
	for i := range 30 {
		n := uint32(max(i/2-1, 0))
		t[i] = base<<16 | n
		base += 1 << n
	}
	t[30], t[31] = symbols.IsSpecial, symbols.IsSpecial
	return t
}

// makeLengths are the symbols of the code for the lengths of codes.
func makeLengths() (t [19]uint32) {
	for i := range t {
		t[i] = uint32(i) << 16
	}
	t[16] |= 2
	t[17] |= 3
	t[18] |= 7
	return t
}

// build makes the table of a canonical code from the lengths of its symbols. The first table has 1<<first entries.
func build(table []uint32, first uint, lengths []uint8, entries []uint32) error {
	var count [maxCode + 1]int
	for _, n := range lengths {
		count[n&maxCode]++
	}
	codes := len(lengths) - count[0]
	var begin [maxCode + 2]int // of the symbols with codes of a length
	left := 1
	for n := 1; n <= maxCode; n++ {
		begin[n+1] = begin[n] + count[n]
		if left = left<<1 - count[n]; left < 0 {
			return ErrFormat
		}
	}
	if left > 0 && (codes > 1 || codes == 1 && count[1] == 0) { // some bits mean nothing: only if there is no code, or one of one bit
		return ErrFormat
	}
	var sorted [maxLiterals]uint16
	place := begin
	for symbol, n := range lengths {
		if n &= maxCode; n > 0 {
			sorted[place[n]] = uint16(symbol)
			place[n]++
		}
	}

	// A table for codes of so many bits, twice, is one for codes of a bit more, where those of that length have their places.
	table[0] = symbols.IsSpecial
	code := uint16(0)
	for n := uint(1); n <= first; n++ {
		size := 1 << (n - 1)
		copy(table[size:2*size], table[:size])
		for _, symbol := range sorted[begin[n]:begin[n+1]] {
			table[mathbits.Reverse16(code<<(16-n))] = entries[symbol] + uint32(n<<8+n)
			code++
		}
		code <<= 1
	}
	buildLinked(table, first, sorted[begin[first+1]:codes], count, code, entries)
	return nil
}

// buildLinked makes the second tables: of the symbols, sorted, with codes longer than first, the first of which is code.
func buildLinked(table []uint32, first uint, sorted []uint16, count [maxCode + 1]int, code uint16, entries []uint32) {
	end, link, size := 1<<first, -1, 0 // of the table: its end, the link that leads to it, bits that index it
	n := first + 1
	for _, symbol := range sorted {
		for count[n] == 0 {
			n++
			code <<= 1
		}
		i := int(mathbits.Reverse16(code << (16 - n)))
		if low := i & (1<<first - 1); low != link {
			link, size = low, linkBits(n-first, count[n:])
			table[link] = symbols.IsSpecial | symbols.IsLink | uint32(end)<<16 | uint32(size)<<8
			end += 1 << size
		}
		sub := table[end-1<<size : end]
		for i >>= first; i < len(sub); i += 1 << (n - first) {
			sub[i] = entries[symbol] + uint32(n<<8+n)
		}
		count[n]--
		code++
	}
}

// linkBits is how many bits index a second table: those of the longest code in it, where the shortest has so many and count
// says how many codes are left of this length and of each that is longer.
func linkBits(bits uint, count []int) int {
	left := 1<<bits - count[0]
	for _, n := range count[1:] {
		if left <= 0 {
			break
		}
		bits, left = bits+1, left<<1-n
	}
	return int(bits)
}

// fixed makes the tables of the fixed codes.
func (z *inflater) fixed() error {
	for i, n := range fixedLiterals {
		z.lengths[i] = uint8(n)
	}
	if err := build(z.Literals[:], symbols.LitBits, z.lengths[:maxLiterals], literalEntries[:]); err != nil {
		return err
	}
	for i, n := range fixedDistances {
		z.lengths[i] = uint8(n)
	}
	return build(z.Distances[:], symbols.DistBits, z.lengths[:maxDistances], distanceEntries[:])
}

// dynamic reads the codes of a block and makes their tables.
func (z *inflater) dynamic() error {
	literals, distances, n := z.take(5)+257, z.take(5)+1, z.take(4)+4
	if literals > 286 || distances > 30 {
		return ErrFormat
	}
	var lengths [19]uint8
	for _, symbol := range lengthOrder[:n] {
		lengths[symbol] = uint8(z.take(3))
	}
	var table [1 << lengthBits]uint32
	if err := build(table[:], lengthBits, lengths[:], lengthEntries[:]); err != nil {
		return err
	}
	for i := 0; i < literals+distances; {
		z.refill()
		e := table[z.Hold&(1<<lengthBits-1)]
		if e&symbols.IsSpecial != 0 {
			return ErrFormat
		}
		code := uint(e >> 8 & 15)
		extra := z.Hold & (1<<(e&63) - 1) >> code
		z.Hold >>= e & 63
		z.Held -= uint(e & 63)
		value, times := uint8(e>>16), 1
		switch value {
		case 16:
			if i == 0 {
				return ErrFormat
			}
			value, times = z.lengths[i-1], int(extra)+3
		case 17:
			value, times = 0, int(extra)+3
		case 18:
			value, times = 0, int(extra)+11
		}
		if i+times > literals+distances {
			return ErrFormat
		}
		for range times {
			z.lengths[i] = value
			i++
		}
	}
	if err := build(z.Literals[:], symbols.LitBits, z.lengths[:literals], literalEntries[:]); err != nil {
		return err
	}
	return build(z.Distances[:], symbols.DistBits, z.lengths[literals:literals+distances], distanceEntries[:])
}
