package deflate

import (
	"encoding/binary"
	"io"

	"github.com/flatrun/flatrun/mount/deflate/symbols"
)

// inflater reads deflated data (RFC 1951) out of In and writes what it was to Out. It stops between two symbols, where that is
// full or in short of bytes while more are to come, and goes on there.
type inflater struct {
	symbols.Decoder // In[At:end] waits; slack more bytes lie behind. Of Out[:Made] the last window is needed to go on

	end  int  // At may be behind it where Hold has bits of the slack
	last bool // no more bytes come; the slack is zeros

	block  block
	final  bool // it is the last
	stored int  // bytes left of a stored block

	blocks *blockLog // of what is gone through; nil: nobody asks
	source int64     // where in the source In begins
	before int64     // bytes made before Out begins

	lengths [maxLiterals + maxDistances]uint8
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
	ahead  = 1024 // bytes waiting in In while more are to come: the header of any block has less
	margin = 16   // a pass of fast reads from so many bytes at most
	slack  = symbols.Behind + margin
	room   = symbols.Room
)

// reset begins new data; In stays as it is.
func (z *inflater) reset() {
	z.before += int64(z.Made)
	z.Hold, z.Held, z.Made = 0, 0, 0
	z.block, z.final = between, false
}

// run goes on until the data end, Out is full but for room, or In has less than ahead while more is to come. After an error
// what it made is not to be used.
func (z *inflater) run() (err error) {
	for err == nil && z.block != ended && z.Made+room <= len(z.Out) && (z.last || z.end-z.At >= ahead) {
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
		if z.At*8-int(z.Held) > z.end*8 { // only with last
			err = io.ErrUnexpectedEOF
		}
	}
	return err
}

// copyStored copies bytes of a stored block.
func (z *inflater) copyStored() error {
	n := min(z.stored, z.end-z.At, len(z.Out)-z.Made)
	if n == 0 {
		return io.ErrUnexpectedEOF
	}
	copy(z.Out[z.Made:], z.In[z.At:z.At+n])
	z.At, z.Made, z.stored = z.At+n, z.Made+n, z.stored-n
	if z.stored == 0 {
		z.endBlock()
	}
	return nil
}

// bit is where in the source the next bit is that was not used.
func (z *inflater) bit() int64 { return 8*(z.source+int64(z.At)) - int64(z.Held) }

// offset is how many bytes were made of the source so far.
func (z *inflater) offset() int64 { return z.before + int64(z.Made) }

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

// giveBack moves whole bytes of Hold back to In, and drops the bits of a byte that is begun.
func (z *inflater) giveBack() {
	z.At -= int(z.Held >> 3)
	z.Hold, z.Held = 0, 0
}

// take takes n bits, at most 16.
func (z *inflater) take(n uint) int {
	z.refill()
	v := z.Hold & (1<<n - 1)
	z.Hold >>= n
	z.Held -= n
	return int(v)
}

// refill has 56 bits held at least. The bits of Hold above Held are right already: or-ing them again changes nothing.
func (z *inflater) refill() {
	if z.At <= z.end {
		z.Hold |= binary.LittleEndian.Uint64(z.In[z.At:]) << (z.Held & 63)
	}
	z.At += int((63 - z.Held) >> 3)
	z.Held |= 56
}

// header reads the beginning of a block.
func (z *inflater) header() error {
	z.final = z.take(1) == 1
	switch z.take(2) {
	case 0:
		if z.giveBack(); z.end-z.At < 4 {
			return io.ErrUnexpectedEOF
		}
		n, not := binary.LittleEndian.Uint16(z.In[z.At:]), binary.LittleEndian.Uint16(z.In[z.At+2:])
		if n != ^not {
			return ErrFormat
		}
		z.At += 4
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

// fast decodes symbols while In and Out have more than any of them needs.
func (z *inflater) fast() error {
	until, full := z.end-margin, len(z.Out)-room
	if z.last {
		until = z.end + margin
	}
	special := z.Decode(until, full)
	switch {
	case special&symbols.IsEnd != 0:
		z.take(uint(special & 63))
		z.endBlock()
	case special != 0:
		return ErrFormat
	}
	return nil
}
