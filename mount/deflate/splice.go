package deflate

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"slices"
	"sync"
)

const (
	// maxGap bounds what is deflated anew between blocks: contents with more are deflated as a whole.
	maxGap = 1 << 20
	// One block of triedOf is deflated to compare, if it has no more than maxTried bytes.
	triedOf, maxTried = 128, 512 << 10
)

// Splice returns data as one zlib stream like Deflate does, made of p's blocks, whose bits are taken as they are; only what they
// leave, at the ends, is deflated. taken tells whether it was: with p nil, or where its blocks would make a stream that is
// much longer, Deflate makes all of it. The bits of p may lie in the end of out.
func Splice(out, data []byte, p *Pieces) (stored []byte, taken bool, err error) {
	if p != nil && p.fits(out, data) {
		s := splicers.Get().(*splicer)
		defer splicers.Put(s)
		if worth, err := s.isWorth(data, p); err != nil {
			return nil, false, err
		} else if worth {
			stored, err = s.splice(out, data, p)
			return stored, err == nil, err
		}
	}
	stored, err = Deflate(out, data)
	return stored, false, err
}

// fits tells whether p is of data, and whether out has room enough that no bits are written over before they are copied.
func (p *Pieces) fits(out, data []byte) bool {
	at, gaps := int64(0), 0
	for _, b := range p.blocks {
		if crc32.Update(b.before, crc32.IEEETable, data[b.From:b.To]) != b.sum {
			return false
		}
		gaps += Bound(int(b.From - at))
		if b.From-at > maxGap {
			return false
		}
		at = b.To
	}
	last := len(data) - int(at)
	return last <= maxGap && gaps+Bound(last)+len(p.bits)+64 <= cap(out)
}

// splicer is what it takes to deflate a gap and find the blocks of that.
type splicer struct {
	out    []byte
	reader *BlockReader
	source bytes.Reader
}

var splicers = sync.Pool{New: func() any { return &splicer{reader: NewBlockReader(nil, Zlib)} }}

// isWorth deflates a few blocks: a source that was compressed in haste, or hardly, is not taken over for years of use. Without
// what is before it a block gets larger, so that a small difference says nothing.
func (s *splicer) isWorth(data []byte, p *Pieces) (bool, error) {
	var theirs, ours int64 // bits
	n := len(p.blocks)/triedOf + 1
	for i := range n {
		b := p.blocks[(2*i+1)*len(p.blocks)/(2*n)]
		if b.To-b.From > maxTried {
			continue
		}
		stream, err := s.deflate(data[b.From:b.To])
		if err != nil {
			return false, err
		}
		theirs, ours = theirs+b.end-b.begin, ours+int64(len(stream))*8
	}
	return ours >= theirs*9/10, nil
}

// deflate makes a stream in memory of its own, which the next call reuses.
func (s *splicer) deflate(data []byte) (stream []byte, err error) {
	if stream, err = Deflate(s.out, data); err == nil {
		s.out = stream
	}
	return stream, err
}

func (s *splicer) splice(out, data []byte, p *Pieces) ([]byte, error) {
	w := bits{out: append(out[:0], 0x78, 0x9c)}
	at := int64(0)
	for i, b := range p.blocks {
		if err := s.gap(&w, data[at:b.From], false); err != nil {
			return nil, err
		}
		at = b.To
		w.copyBlock(p.bits, b, i == len(p.blocks)-1 && at == int64(len(data)))
	}
	if err := s.gap(&w, data[at:], true); err != nil {
		return nil, err
	}
	w.flush()
	return binary.BigEndian.AppendUint32(w.out, addAdler(1, data)), nil
}

// gap writes the blocks that Deflate makes of data.
func (s *splicer) gap(w *bits, data []byte, last bool) error {
	if len(data) == 0 {
		return nil
	}
	stream, err := s.deflate(data)
	if err != nil {
		return err
	}
	s.source.Reset(stream)
	s.reader.Reset(&s.source)
	s.reader.KeepBlocks()
	s.reader.blocks.bare = true
	for err == nil {
		s.reader.given = s.reader.made
		err = s.reader.step()
	}
	if err != io.EOF {
		return err
	}
	all := s.reader.blocks.blocks
	for i, b := range all {
		w.copyBlock(stream, b, last && i == len(all)-1)
	}
	return nil
}

// copyBlock writes a block of a stream. Its header says whether it is the last, which it may not have been there.
func (w *bits) copyBlock(stream []byte, b Block, last bool) {
	header := typeOf(stream, b.begin) << 1
	if last {
		header |= 1
	}
	w.put(header, 3)
	begin := b.begin + 3
	if header>>1 == 0 { // lengths and bytes of a stored block begin with a byte
		w.flush()
		w.out = append(w.out, stream[(begin+7)/8:b.end/8]...)
		return
	}
	w.copy(stream, begin, b.end)
}

// copy writes bits of a stream. It writes no byte at or behind those that it has not read yet, if both lie in one array and
// what is written ends before.
func (w *bits) copy(stream []byte, begin, end int64) {
	take := func(n int64) {
		n = min(n, end-begin)
		w.put(bitsAt(stream, begin, n), int(n))
		begin += n
	}
	if w.n > 0 {
		take(int64(8 - w.n))
	}
	// Bytes are whole now where they are written, and begin anywhere in those that are read.
	from, shift := stream[begin/8:], uint(begin%8)
	n := int(end-begin) / 64 * 8
	begin += int64(n) * 8
	if shift == 0 {
		w.out = append(w.out, from[:n]...)
	} else {
		w.out = slices.Grow(w.out, n)
		to := w.out[len(w.out) : len(w.out)+n]
		w.out = w.out[:len(w.out)+n]
		from = from[:n+1]
		for i := 0; i < len(to)-7; i += 8 {
			v, next := binary.LittleEndian.Uint64(from[i:i+9]), uint64(from[i+8])
			binary.LittleEndian.PutUint64(to[i:], v>>(shift&63)|next<<((64-shift)&63))
		}
	}
	for begin < end {
		take(8)
	}
}

// bitsAt are n bits from i on, at most 8.
func bitsAt(stream []byte, i, n int64) int {
	v := int(stream[i/8]) >> (i % 8)
	if i%8+n > 8 {
		v |= int(stream[i/8+1]) << (8 - i%8)
	}
	return v & (1<<n - 1)
}
