package deflate

import (
	mathbits "math/bits"
	"slices"
)

// endOfBlock is the symbol after the last token.
const endOfBlock = 256

// lengthOrder is the order in which the lengths of the codes for code lengths are written.
var lengthOrder = [...]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// block writes the only block, in the shortest of the three forms.
func (b *bits) block(data []byte, tokens []token) {
	literals, distances := newTree(286, 15), newTree(30, 15)
	literals.freq[endOfBlock] = 1
	extra := 0
	for _, t := range tokens {
		if t.length == 0 {
			literals.freq[t.literal]++
			continue
		}
		symbol, _, n := lengthSymbol(t.length)
		literals.freq[symbol]++
		far, _, m := distanceSymbol(t.distance)
		distances.freq[far]++
		extra += n + m
	}
	fixed := literals.costOf(fixedLiterals) + distances.costOf(fixedDistances) + extra
	literals.build()
	distances.build()
	lengths, runs := newTree(19, 7), append(runLengths(literals.used()), runLengths(distances.used())...)
	dynamic := literals.costOf(literals.len) + distances.costOf(distances.len) + extra
	for _, r := range runs {
		lengths.freq[r.symbol]++
		dynamic += r.bits
	}
	lengths.build()
	dynamic += lengths.costOf(lengths.len)
	last := 18
	for last >= 3 && lengths.len[lengthOrder[last]] == 0 {
		last--
	}
	dynamic += 3*(last+1) + 5 + 5 + 4

	dynamicBytes, fixedBytes := (dynamic+3+7)/8, (fixed+3+7)/8
	switch {
	case len(data)+4 <= min(dynamicBytes, fixedBytes):
		b.put(1, 3)
		b.flush()
		b.out = append(b.out, byte(len(data)), byte(len(data)>>8), ^byte(len(data)), ^byte(len(data)>>8))
		b.out = append(b.out, data...)
	case fixedBytes <= dynamicBytes:
		b.put(1|1<<1, 3)
		b.tokens(tokens, fixedLiterals, fixedDistances)
	default:
		b.put(1|2<<1, 3)
		b.put(len(literals.used())-257, 5)
		b.put(len(distances.used())-1, 5)
		b.put(last+1-4, 4)
		for _, s := range lengthOrder[:last+1] {
			b.put(lengths.len[s], 3)
		}
		codes := codesOf(lengths.len)
		for _, r := range runs {
			b.put(codes[r.symbol], lengths.len[r.symbol])
			b.put(r.value, r.bits)
		}
		b.tokens(tokens, literals.len, distances.len)
	}
	b.flush()
}

// tokens writes tokens in codes of the given lengths.
func (b *bits) tokens(tokens []token, literals, distances []int) {
	literal, distance := codesOf(literals), codesOf(distances)
	for _, t := range tokens {
		if t.length == 0 {
			b.put(literal[t.literal], literals[t.literal])
			continue
		}
		symbol, value, n := lengthSymbol(t.length)
		b.put(literal[symbol], literals[symbol])
		b.put(value, n)
		symbol, value, n = distanceSymbol(t.distance)
		b.put(distance[symbol], distances[symbol])
		b.put(value, n)
	}
	b.put(literal[endOfBlock], literals[endOfBlock])
}

// lengthSymbol is the symbol of a match's length, and what follows it in how many bits.
func lengthSymbol(length int) (symbol, value, n int) {
	if length == maxMatch {
		return 285, 0, 0
	}
	l := length - minMatch
	if l < 8 {
		return 257 + l, 0, 0
	}
	n = mathbits.Len(uint(l)) - 3
	return 257 + 4*n + l>>n, l & (1<<n - 1), n
}

func distanceSymbol(distance int) (symbol, value, n int) {
	d := distance - 1
	if d < 4 {
		return d, 0, 0
	}
	n = mathbits.Len(uint(d)) - 2
	return 2*n + d>>n, d & (1<<n - 1), n
}

// The lengths of the fixed codes (RFC 1951, 3.2.6).
var (
	fixedLiterals  = slices.Concat(slices.Repeat([]int{8}, 144), slices.Repeat([]int{9}, 112), slices.Repeat([]int{7}, 24), slices.Repeat([]int{8}, 8))
	fixedDistances = slices.Repeat([]int{5}, maxDistances)
)

// codesOf numbers the codes of each length and turns them, as they are written from their highest bit on.
func codesOf(lengths []int) []int {
	var next, count [16]int
	for _, n := range lengths {
		count[n]++
	}
	count[0] = 0
	for n := 1; n < len(next); n++ {
		next[n] = (next[n-1] + count[n-1]) << 1
	}
	codes := make([]int, len(lengths))
	for s, n := range lengths {
		if n > 0 {
			codes[s] = int(mathbits.Reverse16(uint16(next[n])) >> (16 - n))
			next[n]++
		}
	}
	return codes
}

// run is a code length, or how often one is repeated.
type run struct{ symbol, value, bits int }

// runLengths writes the lengths of a tree's codes shorter.
func runLengths(lengths []int) (runs []run) {
	for i := 0; i < len(lengths); {
		n, this := 1, lengths[i]
		for i+n < len(lengths) && lengths[i+n] == this {
			n++
		}
		i += n
		if this > 0 {
			runs = append(runs, run{symbol: this})
			n--
		}
		for n > 0 {
			r, took := run{symbol: this}, 1
			switch {
			case this > 0 && n >= 3:
				took = min(n, 6)
				r = run{16, took - 3, 2}
			case this == 0 && n > 10:
				took = min(n, 138)
				r = run{18, took - 11, 7}
			case this == 0 && n >= 3:
				took = n
				r = run{17, took - 3, 3}
			}
			runs = append(runs, r)
			n -= took
		}
	}
	return runs
}
