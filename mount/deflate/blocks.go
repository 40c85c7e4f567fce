package deflate

import "slices"

// Block is one block of deflated data (RFC 1951, 3.2.3) and what it was inflated to.
type Block struct {
	From, To int64 // bytes of the inflated data

	begin, end  int64  // bits of the source
	member      int64  // byte of the inflated data before which nothing is copied from
	before, sum uint32 // the member's checksum at From and at To
}

const (
	// maxLogged bounds what is kept of the source: contents that take more for one object hardly get smaller.
	maxLogged = 12 << 20
	// maxBlocks bounds the blocks. Compressors make one of some ten thousand symbols.
	maxBlocks = 16 << 10
)

// blockLog is what a reader has gone through and nobody has forgotten yet: blocks and their bits.
type blockLog struct {
	reader *BlockReader
	blocks []Block // ended ones that are not empty
	open   Block   // the one that has begun
	member int64

	raw  []byte // of the source, from its byte base on
	base int64

	cuts  int
	trust *trust
}

// KeepBlocks has the reader remember the blocks that it goes through from now on, at the beginning of a source, until
// Forget or Cut has passed them.
func (z *BlockReader) KeepBlocks() { z.blocks = &blockLog{reader: z, trust: &trust{}} }

func (l *blockLog) begin(bit, offset int64) {
	l.open = Block{From: offset, begin: bit, member: l.member, before: l.reader.addUp()}
}

func (l *blockLog) end(bit, offset int64) {
	b := l.open
	if b.From == offset || b.begin < 8*l.base {
		return
	}
	if len(l.blocks) == maxBlocks {
		l.drop()
		return
	}
	b.To, b.end, b.sum = offset, bit, l.reader.addUp()
	l.blocks = append(l.blocks, b)
}

// source notes what was read of it.
func (l *blockLog) source(b []byte) {
	l.raw = append(l.raw, b...)
	if len(l.raw) > maxLogged {
		l.drop()
	}
}

// drop forgets all that is known; a block that has begun will not be known either.
func (l *blockLog) drop() {
	l.blocks = l.blocks[:0]
	l.base += int64(len(l.raw))
	l.raw = l.raw[:0]
}

// Forget says that no Cut will ask for inflated data before offset.
func (z *BlockReader) Forget(offset int64) {
	l := z.blocks
	passed := 0
	for passed < len(l.blocks) && l.blocks[passed].From < offset {
		passed++
	}
	l.blocks = slices.Delete(l.blocks, 0, passed)
	first := l.open
	if len(l.blocks) > 0 {
		first = l.blocks[0]
	}
	if n := first.begin/8 - l.base; n > int64(len(l.raw)/2) { // not at each call: what is left has to move
		l.raw = slices.Delete(l.raw, 0, int(min(n, int64(len(l.raw)))))
		l.base += n
	}
}

// Pieces are blocks out of which the stream of an object can be made, see Splice.
type Pieces struct {
	blocks []Block // From and To count from the object's beginning
	bits   []byte
	number int // of the source's pieces, from 0
	trust  *trust
}

// Cut returns the blocks of which the inflated bytes from..to can be made, which were read already, and forgets what lies before
// to. It is nil where they are of no use: most of the bytes lie in blocks that reach beyond either end, or may copy what lies
// before, or are stored as they are. The bits are copied, to the end of space if they fit there.
func (z *BlockReader) Cut(from, to int64, space []byte) *Pieces {
	defer z.Forget(to)
	l := z.blocks
	p := &Pieces{number: l.cuts, trust: l.trust}
	var covered, stored int64
	for _, b := range l.blocks {
		if b.From < from || b.To > to || b.From-from < window && b.member < from {
			continue
		}
		covered += b.To - b.From
		if l.isStored(b) {
			stored += b.To - b.From
		}
		p.blocks = append(p.blocks, b)
	}
	if covered < (to-from)/2 || 2*stored > covered || covered == 0 {
		return nil
	}
	begin, end := p.blocks[0].begin/8, (p.blocks[len(p.blocks)-1].end+7)/8
	raw := l.raw[begin-l.base : end-l.base]
	if n := len(space) - len(raw); n >= 0 {
		p.bits = space[n:]
		copy(p.bits, raw)
	} else {
		p.bits = slices.Clone(raw)
	}
	for i := range p.blocks {
		b := &p.blocks[i]
		b.From, b.To = b.From-from, b.To-from
		b.begin, b.end = b.begin-8*begin, b.end-8*begin
	}
	l.cuts++
	return p
}

// isStored looks at the type of a block, the two bits behind the first.
func (l *blockLog) isStored(b Block) bool { return typeOf(l.raw, b.begin-8*l.base) == 0 }

// typeOf is the type of the block whose header begins at that bit.
func typeOf(raw []byte, bit int64) int { return bitAt(raw, bit+1) | bitAt(raw, bit+2)<<1 }

func bitAt(raw []byte, i int64) int { return int(raw[i/8]>>(i%8)) & 1 }
