package deflate

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// maxGap bounds what is deflated anew between blocks: contents with more are deflated as a whole.
	maxGap = 1 << 20
	// One block of triedOf is deflated to compare, if it has no more than maxTried bytes.
	triedOf, maxTried = 128, 512 << 10
	// Of a source of which so many pieces in a row were no longer than what Deflate makes, one of triedOfTrusted is tried.
	trusted, triedOfTrusted = 16, 16
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

// splicer is the memory that it takes.
type splicer struct {
	tried []byte // what Deflate made of a block
	gaps  *Writer
	made  bytes.Buffer // by gaps
}

var splicers = sync.Pool{New: func() any { return &splicer{gaps: newSmallWriter()} }}

// trust is how many pieces of a source in a row were no longer than what Deflate makes: a compressor is the same for all of a
// source, mostly.
type trust struct{ row atomic.Int32 }

func (t *trust) trusts(p *Pieces) bool {
	return t.row.Load() >= trusted && p.number%triedOfTrusted != 0
}

// note learns what pieces and what Deflate makes of them take.
func (t *trust) note(theirs, ours int64) (worth bool) {
	// Without what is before it a block gets larger, so that a small difference says nothing.
	worth = ours >= theirs*9/10
	switch {
	case !worth:
		t.row.Store(0)
	case ours > theirs:
		t.row.Add(1)
	}
	return worth
}

// isWorth deflates a few blocks: a source that was compressed in haste, or hardly, is not taken over for years of use. What
// trust gets wrong takes some bytes more.
func (s *splicer) isWorth(data []byte, p *Pieces) (bool, error) {
	if p.trust.trusts(p) {
		return true, nil
	}
	var theirs, ours int64 // bits
	n := len(p.blocks)/triedOf + 1
	for i := range n {
		b := p.blocks[(2*i+1)*len(p.blocks)/(2*n)]
		if b.To-b.From > maxTried {
			continue
		}
		tried, err := deflateAs(s.tried, data[b.From:b.To], len(data))
		if err != nil {
			return false, err
		}
		s.tried = tried
		theirs, ours = theirs+b.end-b.begin, ours+int64(len(tried))*8
	}
	return p.trust.note(theirs, ours), nil
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

// gap writes blocks of data, which is between two of p or at an end. They begin and end with a whole byte, which takes a few
// bytes more than to join them by the bit, but nobody has to find where they begin and end.
func (s *splicer) gap(w *bits, data []byte, last bool) error {
	if len(data) == 0 {
		return nil
	}
	s.made.Reset()
	s.gaps.Reset(&s.made)
	_, err := s.gaps.Write(data)
	if err == nil && last {
		err = s.gaps.Close()
	} else if err == nil {
		err = s.gaps.Flush()
	}
	if err != nil {
		return err
	}
	w.align()
	made := s.made.Bytes()[zlibHeader:]
	if last {
		made = made[:len(made)-zlibSum]
	}
	w.out = append(w.out, made...)
	return nil
}

// Bytes before and after the blocks of a zlib stream.
const zlibHeader, zlibSum = 2, 4

// align has a byte begin: with an empty stored block, unless one does.
func (w *bits) align() {
	if w.n > 0 {
		w.put(0, 3)
		w.flush()
		w.out = append(w.out, 0, 0, 0xff, 0xff)
	}
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
