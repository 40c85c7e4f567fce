// Package symbols decodes the symbols of deflated data (RFC 1951, 3.2): the loop in which package deflate's reader spends its time.
// It stands apart because Go takes no assembly in a package that has C, too.
package symbols

import "encoding/binary"

// An entry of a table says what a code means. A table is indexed by the next bits; codes longer than its first bits are found
// through a link to a second table behind it.
//
//	bits 0–5    how many bits the code has with its extra ones
//	bits 8–11   how many the code has alone; of a link how many bits index its table
//	bits 16–30  the literal; the least length or distance; where a link's table begins
const (
	IsEnd     = 1 << 12 // of the block
	IsLink    = 1 << 13
	IsSpecial = 1 << 14 // an end, a link, or no code at all
	IsLiteral = 1 << 31
)

// How many bits index the first table, and all of them, with the second ones.
const (
	LitBits, LitSize   = 11, 12 // of 288 codes of up to 15 bits there are 2342 entries at most
	DistBits, DistSize = 8, 9   // of 32, 402
)

// What must be around the places that Decode is given.
const (
	Behind = 32  // bytes of In from until on
	Room   = 320 // bytes of Out from full on, for the longest match and what is written beyond it
)

// Decoder is where the decoding of a block stands.
type Decoder struct {
	In   []byte
	At   int    // the next byte of In; those before are used, or in Hold
	Hold uint64 // bits that come before them, the next one lowest
	Held uint   // of Hold that count, up to 63; those above are what follows in In, or 0

	Out  []byte // Out[:Made] is written, and copied from
	Made int

	Literals  [1 << LitSize]uint32 // also of lengths and the end of the block
	Distances [1 << DistSize]uint32
}

// Decode decodes symbols while At < until and Made <= full, and returns the entry that ended this: of the block's end, whose
// bits are not taken yet, or one that is special otherwise, where the data is damaged; or 0. What is between Made and the end of
// Out may be written to.
func (d *Decoder) Decode(until, full int) (special uint32) {
	// The loop in assembly has no other bounds.
	until, full = min(until, len(d.In)-Behind), min(full, len(d.Out)-Room)
	if d.At < 0 || d.Made < 0 || d.At >= until || d.Made > full {
		return 0
	}
	return d.decode(until, full)
}

// decodeGo is Decode in Go. All that it works with stands in registers.
func (d *Decoder) decodeGo(until, full int) (special uint32) {
	in, out := d.In, d.Out
	at, held, hold, made := d.At, d.Held, d.Hold, d.Made
	literals, distances := &d.Literals, &d.Distances
	var e uint32 // the next symbol's entry, looked up while the last one is copied
	for begun := false; at < until && made <= full; {
		// These 56 bits are enough for two literals of the first table, 11 bits each, and a length with its extra bits, 20.
		hold |= binary.LittleEndian.Uint64(in[at:]) << (held & 63)
		at += int((63 - held) >> 3)
		held |= 56
		if !begun {
			begun, e = true, literals[hold&(1<<LitBits-1)]
		}
		if e&IsLiteral != 0 {
			hold >>= e & 63
			held -= uint(e & 63)
			out[made] = byte(e >> 16)
			made++
			if e = literals[hold&(1<<LitBits-1)]; e&IsLiteral != 0 {
				hold >>= e & 63
				held -= uint(e & 63)
				out[made] = byte(e >> 16)
				made++
				if e = literals[hold&(1<<LitBits-1)]; e&IsLiteral != 0 {
					hold >>= e & 63
					held -= uint(e & 63)
					out[made] = byte(e >> 16)
					made++
					e = literals[hold&(1<<LitBits-1)]
					continue
				}
			}
		}
		if e&IsSpecial != 0 {
			if e&IsLink != 0 {
				e = literals[linked(e, hold>>LitBits)&(1<<LitSize-1)]
			}
			if e&IsLiteral != 0 {
				hold >>= e & 63
				held -= uint(e & 63)
				out[made] = byte(e >> 16)
				made++
				e = literals[hold&(1<<LitBits-1)]
				continue
			}
			if e&IsSpecial != 0 {
				special = e
				break
			}
		}
		length := valueOf(e, hold)
		hold >>= e & 63
		held -= uint(e & 63)

		hold |= binary.LittleEndian.Uint64(in[at:]) << (held & 63)
		at += int((63 - held) >> 3)
		held |= 56
		e = distances[hold&(1<<DistBits-1)]
		if e&IsLink != 0 {
			e = distances[linked(e, hold>>DistBits)&(1<<DistSize-1)]
		}
		distance := valueOf(e, hold)
		hold >>= e & 63
		held -= uint(e & 63)
		if e&IsSpecial != 0 || distance > made {
			special = IsSpecial
			break
		}
		e = literals[hold&(1<<LitBits-1)]

		// What is written too much is written over: room is more than that.
		to, from := out[made:made+length+32], out[made-distance:made-distance+length+32]
		made += length
		if distance < 16 {
			repeat(to, from, distance, length)
			continue
		}
		*(*[16]byte)(to) = *(*[16]byte)(from)
		for i := 16; i < length; i += 16 {
			*(*[16]byte)(to[i:]) = *(*[16]byte)(from[i:])
		}
	}
	d.At, d.Held, d.Hold, d.Made = at, held, hold, made
	return special
}

// valueOf is a length or distance, of the code and the bits behind it.
func valueOf(e uint32, hold uint64) int {
	return int(e>>16) + int(hold&(1<<(e&63)-1)>>(e>>8&15))
}

// linked is the place in the second table that a link leads to.
func linked(link uint32, hold uint64) uint32 {
	return link>>16 + uint32(hold)&(1<<(link>>8&15)-1)
}

// repeat copies what is written while it is copied.
func repeat(to, from []byte, distance, length int) {
	switch {
	case distance >= 8:
		for i := 0; i < length; i += 8 {
			*(*[8]byte)(to[i:]) = *(*[8]byte)(from[i:])
		}
	case distance == 1:
		v := uint64(from[0]) * 0x0101010101010101
		for i := 0; i < length; i += 8 {
			binary.LittleEndian.PutUint64(to[i:], v)
		}
	default:
		for i := range length {
			to[i] = from[i]
		}
	}
}
