package deflate

import (
	"encoding/binary"
	"hash"
	"hash/crc32"
	"io"
)

// BlockReader is a Reader of Go that can tell of what blocks the source is made, see KeepBlocks. The zero value is not usable;
// see NewBlockReader.
type BlockReader struct {
	inflater
	format Format
	src    io.Reader
	srcErr error // what src ended with
	begun  bool  // in a member
	first  bool  // none has ended
	given  int   // of Out[:Made]
	summed int   // of Out[:Made], so far in sum
	sum    hash.Hash32
	size   uint32 // of the member's bytes, as gzip counts them
	tee    *tee   // nil: nobody asked
	err    error
}

// NewBlockReader returns a BlockReader of r.
func NewBlockReader(r io.Reader, f Format) *BlockReader {
	z := &BlockReader{format: f, sum: newAdler()}
	if f == Gzip {
		z.sum = crc32.NewIEEE()
	}
	z.In = make([]byte, bufferSize+slack)
	z.Out = make([]byte, window+2*bufferSize+room)
	z.Reset(r)
	return z
}

// Reset goes on with another source.
func (z *BlockReader) Reset(r io.Reader) {
	z.reset()
	z.src, z.srcErr, z.err = r, nil, nil
	z.At, z.end, z.last = 0, 0, false
	z.begun, z.first, z.given, z.summed = false, true, 0, 0
	z.blocks, z.source, z.before = nil, 0, 0
	z.tee = nil
}

// Read implements io.Reader. io.EOF says that the checksum is right and the source at its end, too.
func (z *BlockReader) Read(p []byte) (n int, err error) {
	for z.given == z.Made && z.err == nil && len(p) > 0 {
		z.err = z.step()
	}
	if z.given < z.Made { // what went wrong behind it is told the next time
		n = copy(p, z.Out[z.given:z.Made])
		z.given += n
		return n, nil
	}
	return 0, z.err
}

// step makes some more bytes, all of what was made before being given; or begins or ends a member.
func (z *BlockReader) step() error {
	if !z.begun {
		return z.begin()
	}
	if z.block == ended {
		return z.finish()
	}
	if len(z.Out)-z.Made < room+bufferSize {
		kept := z.Out[z.Made-window : z.Made]
		z.turn(window)
		copy(z.Out, kept)
		z.before += int64(z.Made - window)
		z.Made, z.given, z.summed = window, window, window
	}
	z.fill()
	if err := z.run(); err != nil {
		z.Made, z.summed = z.given, z.given
		if err == io.ErrUnexpectedEOF && z.srcErr != io.EOF {
			return z.srcErr
		}
		return err
	}
	z.addUp()
	return nil
}

// addUp takes what was made into the checksum, which it returns.
func (z *BlockReader) addUp() uint32 {
	fresh := z.Out[z.summed:z.Made]
	z.size += uint32(len(fresh))
	z.sum.Write(fresh)
	z.summed = z.Made
	return z.sum.Sum32()
}

// fill has more bytes wait than the inflater needs to go on, unless the source has no more.
func (z *BlockReader) fill() {
	if z.last || z.end-z.At >= ahead {
		return
	}
	kept := min(z.At, 8) // hold may be given back
	z.source += int64(z.At - kept)
	z.end = copy(z.In, z.In[z.At-kept:z.end])
	z.At = kept
	for z.end-z.At < ahead && z.srcErr == nil {
		var n int
		n, z.srcErr = z.src.Read(z.In[z.end : len(z.In)-slack])
		if z.blocks != nil {
			z.blocks.source(z.In[z.end : z.end+n])
		}
		z.end += n
	}
	if z.srcErr != nil {
		z.last = true
		clear(z.In[z.end : z.end+slack])
	}
}

// begin reads what comes before the deflated data, or finds that nothing comes any more.
func (z *BlockReader) begin() error {
	z.fill()
	if z.At == z.end && !z.first {
		return z.srcErr
	}
	if !z.first && z.format == Zlib {
		return ErrTrailing
	}
	z.sum.Reset()
	h := header{z: z, sum: z.sum}
	if z.format == Gzip {
		h.gzip()
	} else {
		h.zlib()
	}
	if h.err != nil {
		return h.err
	}
	z.sum.Reset()
	z.turn(0)
	z.reset()
	z.begun, z.given, z.summed, z.size = true, 0, 0, 0
	if z.blocks != nil {
		z.blocks.member = z.before
	}
	return nil
}

// finish reads what comes after the deflated data.
func (z *BlockReader) finish() error {
	z.fill()
	h := header{z: z, sum: newAdler()}
	var right bool
	if z.format == Gzip {
		sum, size := h.bytes(4), h.bytes(4)
		right = binary.LittleEndian.Uint32(sum) == z.sum.Sum32() && binary.LittleEndian.Uint32(size) == z.size
	} else {
		right = binary.BigEndian.Uint32(h.bytes(4)) == z.sum.Sum32()
	}
	switch {
	case h.err != nil:
		return h.err
	case !right:
		return ErrChecksum
	}
	z.begun, z.first = false, false
	return nil
}

// header takes single bytes. After the first error it gives zeros.
type header struct {
	z   *BlockReader
	sum hash.Hash32 // of what was taken
	err error
}

func (h *header) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		if h.z.At == h.z.end {
			h.z.fill()
		}
		switch {
		case h.err != nil:
		case h.z.At < h.z.end:
			b[i] = h.z.In[h.z.At]
			h.z.At++
		case h.z.srcErr == io.EOF:
			h.err = io.ErrUnexpectedEOF
		default:
			h.err = h.z.srcErr
		}
	}
	h.sum.Write(b)
	return b
}

// zlib reads a header of RFC 1950.
func (h *header) zlib() {
	b := h.bytes(2)
	const deflated, maxWindow, dictionary = 8, 7, 0x20
	if h.err == nil && (b[0]&15 != deflated || b[0]>>4 > maxWindow || binary.BigEndian.Uint16(b)%31 != 0 || b[1]&dictionary != 0) {
		h.err = ErrFormat
	}
}

// gzip reads a header of RFC 1952.
func (h *header) gzip() {
	b := h.bytes(10)
	const checked, extra, name, comment = 2, 4, 8, 16
	if h.err == nil && (b[0] != 0x1f || b[1] != 0x8b || b[2] != 8) {
		h.err = ErrFormat
	}
	flags := b[3]
	if flags&extra != 0 {
		h.bytes(int(binary.LittleEndian.Uint16(h.bytes(2))))
	}
	for _, text := range []byte{name, comment} {
		if flags&text != 0 {
			h.text()
		}
	}
	if flags&checked != 0 {
		sum := uint16(h.sum.Sum32())
		if got := binary.LittleEndian.Uint16(h.bytes(2)); h.err == nil && got != sum {
			h.err = ErrFormat
		}
	}
}

// text skips one that ends with a zero byte.
func (h *header) text() {
	const longest = 512
	for range longest {
		if h.bytes(1)[0] == 0 {
			return
		}
	}
	if h.err == nil {
		h.err = ErrFormat
	}
}
