package deflate

import "hash"

// tee is a hash of all that a reader makes. A goroutine adds up one buffer while the inflater fills the other: hashing takes
// half of the time that inflating takes, and who reads a layer waits for both.
type tee struct {
	h     hash.Hash
	idle  chan struct{} // has an element while no part is being added
	spare []byte        // the buffer that is not Out
	from  int           // Out[from:Made] was not added
}

// teeSize is what is made between two turns, in bytes: long enough for a goroutine to begin.
const teeSize = 256 << 10

// Sum has h given all that is read from now on, at the beginning of a source. It is complete when wait has returned, which is to
// be called after io.EOF.
func (z *BlockReader) Sum(h hash.Hash) (wait func()) {
	const size = window + teeSize + bufferSize + room
	z.Out = make([]byte, size)
	z.tee = &tee{h: h, idle: make(chan struct{}, 1), spare: make([]byte, size)}
	z.tee.idle <- struct{}{}
	return func() {
		z.turn(0)
		<-z.tee.idle
	}
}

// turn gives what was made to the hash and goes on with the other buffer, in which what is made begins at byte from. The old one
// may be read until the next turn.
func (z *BlockReader) turn(from int) {
	t := z.tee
	if t == nil {
		return
	}
	<-t.idle
	part := z.Out[t.from:z.Made]
	go func() {
		t.h.Write(part)
		t.idle <- struct{}{}
	}()
	z.Out, t.spare, t.from = t.spare, z.Out, from
}
