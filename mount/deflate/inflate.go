package deflate

import (
	"encoding/binary"
	"io"
)

// inflater reads deflated data (RFC 1951) out of in and writes what it was to out. It stops between two symbols, where out is
// full or in short of bytes while more are to come, and goes on there.
type inflater struct {
	in      []byte // in[at:end] waits; slack more bytes lie behind
	at, end int    // at may be behind end where hold has bits of the slack
	last    bool   // no more bytes come; the slack is zeros
	hold    uint64
	held    uint // bits of hold that count; those above are what follows in in, or 0

	out  []byte // out[:made] is written; the last window of it is needed to go on
	made int

	block  block
	final  bool // it is the last
	stored int  // bytes left of a stored block

	blocks *blockLog // of what is gone through; nil: nobody asks
	source int64     // where in the source in begins
	before int64     // bytes made before out begins

	literals  [1 << litSize]uint32
	distances [1 << distSize]uint32
	lengths   [maxLiterals + maxDistances]uint8
}

// block is in which kind of block an inflater is.
type block uint8

const (
	between block = iota
	storedBlock
	codedBlock
	ended
)

const (
	window = 32 << 10
	ahead  = 1024 // bytes waiting in in while more are to come: the header of any block has less
	slack  = 48
	margin = 16  // a pass of fast reads from so many bytes at most
	room   = 320 // at the end of out, for the longest match and what is written beyond it
)

// reset begins new data; in stays as it is.
func (z *inflater) reset() {
	z.before += int64(z.made)
	z.hold, z.held, z.made = 0, 0, 0
	z.block, z.final = between, false
}

// run goes on until the data end, out is full but for room, or in has less than ahead while more is to come. After an error
// what it made is not to be used.
func (z *inflater) run() (err error) {
	for err == nil && z.block != ended && z.made+room <= len(z.out) && (z.last || z.end-z.at >= ahead) {
		switch z.block {
		case between:
			if z.blocks != nil {
				z.blocks.begin(z.bit(), z.offset())
			}
			err = z.header()
		case storedBlock:
			err = z.copyStored()
		case codedBlock:
			err = z.fast()
		}
		if z.at*8-int(z.held) > z.end*8 { // only with last
			err = io.ErrUnexpectedEOF
		}
	}
	return err
}

// copyStored copies bytes of a stored block.
func (z *inflater) copyStored() error {
	n := min(z.stored, z.end-z.at, len(z.out)-z.made)
	if n == 0 {
		return io.ErrUnexpectedEOF
	}
	copy(z.out[z.made:], z.in[z.at:z.at+n])
	z.at, z.made, z.stored = z.at+n, z.made+n, z.stored-n
	if z.stored == 0 {
		z.endBlock()
	}
	return nil
}

// bit is where in the source the next bit is that was not used.
func (z *inflater) bit() int64 { return 8*(z.source+int64(z.at)) - int64(z.held) }

// offset is how many bytes were made of the source so far.
func (z *inflater) offset() int64 { return z.before + int64(z.made) }

func (z *inflater) endBlock() {
	z.block = between
	if z.blocks != nil {
		z.blocks.end(z.bit(), z.offset())
	}
	if z.final {
		z.giveBack()
		z.block = ended
	}
}

// giveBack moves whole bytes of hold back to in, and drops the bits of a byte that is begun.
func (z *inflater) giveBack() {
	z.at -= int(z.held >> 3)
	z.hold, z.held = 0, 0
}

// take takes n bits, at most 16.
func (z *inflater) take(n uint) int {
	z.refill()
	v := z.hold & (1<<n - 1)
	z.hold >>= n
	z.held -= n
	return int(v)
}

// refill has 56 bits held at least. The bits of hold above held are right already: or-ing them again changes nothing.
func (z *inflater) refill() {
	if z.at <= z.end {
		z.hold |= binary.LittleEndian.Uint64(z.in[z.at:]) << (z.held & 63)
	}
	z.at += int((63 - z.held) >> 3)
	z.held |= 56
}

// header reads the beginning of a block.
func (z *inflater) header() error {
	z.final = z.take(1) == 1
	switch z.take(2) {
	case 0:
		if z.giveBack(); z.end-z.at < 4 {
			return io.ErrUnexpectedEOF
		}
		n, not := binary.LittleEndian.Uint16(z.in[z.at:]), binary.LittleEndian.Uint16(z.in[z.at+2:])
		if n != ^not {
			return ErrFormat
		}
		z.at += 4
		z.block, z.stored = storedBlock, int(n)
		if n == 0 {
			z.endBlock()
		}
		return nil
	case 1:
		z.block = codedBlock
		return z.fixed()
	case 2:
		z.block = codedBlock
		return z.dynamic()
	}
	return ErrFormat
}

// fast decodes symbols while in and out have more than any of them needs.
func (z *inflater) fast() error {
	until, full := z.end-margin, len(z.out)-room
	if z.last {
		until = z.end + margin
	}
	special := z.decode(min(until, len(z.in)-slack+margin), full)
	switch {
	case special&isEnd != 0:
		z.take(uint(special & 63))
		z.endBlock()
	case special != 0:
		return ErrFormat
	}
	return nil
}

// decodeGo decodes symbols while at < until and made <= full, and returns the entry that ended this, or 0. It is where the time
// goes: all that it works with stands in registers.
func (z *inflater) decodeGo(until, full int) (special uint32) {
	in, out := z.in, z.out
	at, held, hold, made := z.at, z.held, z.hold, z.made
	literals, distances := &z.literals, &z.distances
	var e uint32 // the next symbol's entry, looked up while the last one is copied
	for begun := false; at < until && made <= full; {
		// These 56 bits are enough for two literals of the first table, 11 bits each, and a length with its extra bits, 20.
		hold |= binary.LittleEndian.Uint64(in[at:]) << (held & 63)
		at += int((63 - held) >> 3)
		held |= 56
		if !begun {
			begun, e = true, literals[hold&(1<<litBits-1)]
		}
		if e&isLiteral != 0 {
			hold >>= e & 63
			held -= uint(e & 63)
			out[made] = byte(e >> 16)
			made++
			if e = literals[hold&(1<<litBits-1)]; e&isLiteral != 0 {
				hold >>= e & 63
				held -= uint(e & 63)
				out[made] = byte(e >> 16)
				made++
				if e = literals[hold&(1<<litBits-1)]; e&isLiteral != 0 {
					hold >>= e & 63
					held -= uint(e & 63)
					out[made] = byte(e >> 16)
					made++
					e = literals[hold&(1<<litBits-1)]
					continue
				}
			}
		}
		if e&isSpecial != 0 {
			if e&isLink != 0 {
				e = literals[linked(e, hold>>litBits)&(1<<litSize-1)]
			}
			if e&isLiteral != 0 {
				hold >>= e & 63
				held -= uint(e & 63)
				out[made] = byte(e >> 16)
				made++
				e = literals[hold&(1<<litBits-1)]
				continue
			}
			if e&isSpecial != 0 {
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
		e = distances[hold&(1<<distBits-1)]
		if e&isLink != 0 {
			e = distances[linked(e, hold>>distBits)&(1<<distSize-1)]
		}
		distance := valueOf(e, hold)
		hold >>= e & 63
		held -= uint(e & 63)
		if e&isSpecial != 0 || distance > made {
			special = isSpecial
			break
		}
		e = literals[hold&(1<<litBits-1)]

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
	z.at, z.held, z.hold, z.made = at, held, hold, made
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
