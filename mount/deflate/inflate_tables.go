package deflate

import mathbits "math/bits"

// An entry of a table says what a code means. A table is indexed by the next bits; codes longer than its first bits are found
// through a link to a second table behind it.
//
//	bits 0–5    how many bits the code has with its extra ones
//	bits 8–11   how many the code has alone; of a link how many bits index its table
//	bits 16–30  the literal; the least length or distance; where a link's table begins
const (
	isEnd     = 1 << 12 // of the block
	isLink    = 1 << 13
	isSpecial = 1 << 14 // an end, a link, or no code at all
	isLiteral = 1 << 31
)

const (
	maxLiterals  = 288 // symbols for literals, lengths and the end of a block, with the two of the fixed code that mean nothing
	maxDistances = 32
	maxCode      = 15 // bits

	litBits, litSize   = 11, 12 // of the first table; of all of them, where the most that there can be is 2342 entries
	distBits, distSize = 8, 9   // the most is 402
	lengthBits         = 7
)

// The entries of all symbols, without the bits of their codes.
var (
	literalEntries  = makeLiterals()
	distanceEntries = makeDistances()
	lengthEntries   = makeLengths()
)

func makeLiterals() (t [maxLiterals]uint32) {
	for i := range 256 {
		t[i] = isLiteral | uint32(i)<<16
	}
	t[endOfBlock] = isSpecial | isEnd
	for length := maxMatch; length >= minMatch; length-- {
		symbol, value, n := lengthSymbol(length)
		t[symbol] = uint32(length-value)<<16 | uint32(n)
	}
	t[286], t[287] = isSpecial, isSpecial
	return t
}

func makeDistances() (t [maxDistances]uint32) {
	base := uint32(1)
	for i := range 30 {
		n := uint32(max(i/2-1, 0))
		t[i] = base<<16 | n
		base += 1 << n
	}
	t[30], t[31] = isSpecial, isSpecial
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
	var count, next [maxCode + 1]uint16
	for _, n := range lengths {
		count[n]++
	}
	codes := len(lengths) - int(count[0])
	count[0] = 0
	left := 1
	for n := 1; n <= maxCode; n++ {
		next[n] = (next[n-1] + count[n-1]) << 1
		if left = left<<1 - int(count[n]); left < 0 {
			return ErrFormat
		}
	}
	if left > 0 { // some bits mean nothing: only if there is no code, or one of one bit
		if codes > 1 || codes == 1 && count[1] == 0 {
			return ErrFormat
		}
		for i := range table[:1<<first] {
			table[i] = isSpecial
		}
	}
	links := linkBits(first, lengths, next)
	end := 1 << first
	for symbol, n := range lengths {
		if n == 0 {
			continue
		}
		code := int(mathbits.Reverse16(next[n]) >> (16 - n))
		next[n]++
		e := entries[symbol] + uint32(n)<<8 + uint32(n)
		if uint(n) <= first {
			for i := code; i < 1<<first; i += 1 << n {
				table[i] = e
			}
			continue
		}
		low := code & (1<<first - 1)
		size := links[low]
		if size&placed == 0 {
			links[low] |= placed
			table[low] = isSpecial | isLink | uint32(end)<<16 | uint32(size)<<8
			end += 1 << size
		}
		size &^= placed
		sub := int(table[low] >> 16)
		for i := code >> first; i < 1<<size; i += 1 << (uint(n) - first) {
			table[sub+i] = e
		}
	}
	return nil
}

// placed marks a second table that has its place.
const placed = 1 << 7

// linkBits finds how many bits index the second tables.
func linkBits(first uint, lengths []uint8, next [maxCode + 1]uint16) (links [1 << litBits]uint8) {
	for _, n := range lengths {
		if uint(n) > first {
			low := int(mathbits.Reverse16(next[n])>>(16-n)) & (1<<first - 1)
			links[low] = max(links[low], n-uint8(first))
			next[n]++
		}
	}
	return links
}

// fixed makes the tables of the fixed codes.
func (z *inflater) fixed() error {
	for i, n := range fixedLiterals {
		z.lengths[i] = uint8(n)
	}
	if err := build(z.literals[:], litBits, z.lengths[:maxLiterals], literalEntries[:]); err != nil {
		return err
	}
	for i, n := range fixedDistances {
		z.lengths[i] = uint8(n)
	}
	return build(z.distances[:], distBits, z.lengths[:maxDistances], distanceEntries[:])
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
		e := table[z.hold&(1<<lengthBits-1)]
		if e&isSpecial != 0 {
			return ErrFormat
		}
		code := uint(e >> 8 & 15)
		extra := z.hold & (1<<(e&63) - 1) >> code
		z.hold >>= e & 63
		z.held -= uint(e & 63)
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
	if err := build(z.literals[:], litBits, z.lengths[:literals], literalEntries[:]); err != nil {
		return err
	}
	return build(z.distances[:], distBits, z.lengths[literals:literals+distances], distanceEntries[:])
}
