// Package pack is the format of start-up packs: the objects that a start of an image reads, compressed together.
//
// A pack lies in the repository that it speeds up, in a directory of plain files: "profile" lists its objects, and the
// parts "0", "1", … hold them in the order of their first use. Each part stands for itself: a magic line, then one zstd
// frame with an index and the contents. Together they compress better than one by one. A part is published in small chunks
// (ChunkMin, ChunkAvg, ChunkMax), which are fetched side by side, and each object is used as soon as its bytes are here.
//
// What is verified against what: a part is a file of the repository, so that its bytes are right if the hashes of its chunks
// are those in the catalog, which hangs on the signed chain; that is checked by whoever fetched a chunk, before Read sees it. Read
// checks each object against what its name allows: plain objects against their hash itself. The hash of a compressed object
// is that of its compressed form, which a pack does not hold: there the SHA-256 that the publisher wrote beside it, and its
// size, have to do. So a publisher could give an object of their own repository another content than its name says, as they
// could by publishing another object; but not one of another repository, if what comes out of packs is kept apart for each.
package pack

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/klauspost/compress/zstd"

	"github.com/flatrun/flatrun/mount/cas"
)

// ErrFormat marks bytes that are no part of a pack.
var ErrFormat = errors.New("malformed pack")

const magic = "flatrun pack 1\n"

// Bounds: a part is taken apart in memory.
const (
	MaxPart    = 64 << 20 // bytes of a part, decompressed and as stored
	MaxParts   = 64       // parts of a pack
	maxObjects = 1 << 14  // of a part
)

// A part is cut into chunks that a reader need not wait for long, and still few enough to ask for, in bytes.
const (
	ChunkMin = 256 << 10
	ChunkAvg = 512 << 10
	ChunkMax = 1 << 20
)

// ProfileName and PartName are the files in a pack's directory.
const ProfileName = "profile"

// PartName names the part with that number, from 0.
func PartName(i int) string { return strconv.Itoa(i) }

// sumSize is that of the digest of a content.
const sumSize = sha256.Size

// An index has an entry for each object: algorithm, hash, suffix, compression, a byte each but for the hash; size as uvarint;
// SHA-256 of the content. Contents follow in the same order.

// appendEntry writes one entry.
func appendEntry(b []byte, o cas.Object, content []byte) []byte {
	b = append(b, byte(o.Hash.Algorithm()))
	b = append(b, o.Hash.Bytes()...)
	b = append(b, byte(o.Suffix), byte(o.Compression))
	b = binary.AppendUvarint(b, uint64(len(content)))
	sum := sha256.Sum256(content)
	return append(b, sum[:]...)
}

// Compress appends plain to dst as one zstd frame. Its window is what a reader has to remember; see package squeeze.
type Compress func(dst, plain []byte) ([]byte, error)

// Part makes one part of objects and their contents.
func Part(objects []cas.Object, contents [][]byte, compress Compress) ([]byte, error) {
	if len(objects) > maxObjects {
		return nil, fmt.Errorf("pack: %d objects in a part are more than %d", len(objects), maxObjects)
	}
	var index []byte
	size := 0
	for i, o := range objects {
		index = appendEntry(index, o, contents[i])
		size += len(contents[i])
	}
	plain := make([]byte, 0, size+len(index)+2*binary.MaxVarintLen64)
	plain = binary.AppendUvarint(plain, uint64(len(objects)))
	plain = append(plain, index...)
	for _, c := range contents {
		plain = append(plain, c...)
	}
	if len(plain) > MaxPart {
		return nil, fmt.Errorf("pack: a part of %d bytes is larger than %d", len(plain), MaxPart)
	}
	return compress([]byte(magic), plain)
}

// Read takes a part apart while it comes, and hands each object with its content to take, which must not keep the content.
// What is wrong with the part, or with one object in it, ends it: objects that were handed out are right.
func Read(part io.Reader, take func(o cas.Object, content []byte) error) error {
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(part, head); err != nil || string(head) != magic {
		return fmt.Errorf("%w: it does not begin as a part of one", ErrFormat)
	}
	r, err := zstd.NewReader(part, zstd.WithDecoderMaxWindow(MaxPart), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		return err
	}
	defer r.Close()
	plain := bufio.NewReaderSize(r, 64<<10)
	entries, err := readIndex(plain)
	if err != nil {
		return err
	}
	var content []byte
	for _, e := range entries {
		content = slices.Grow(content[:0], int(e.object.Size))[:e.object.Size]
		if _, err := io.ReadFull(plain, content); err != nil {
			return fmt.Errorf("%w: object %v: %w", ErrFormat, e.object, err)
		}
		if err := e.check(content); err != nil {
			return err
		}
		if err := take(e.object, content); err != nil {
			return err
		}
	}
	switch _, err := plain.ReadByte(); err {
	case io.EOF:
		return nil
	case nil:
		return fmt.Errorf("%w: more bytes than the index tells of", ErrFormat)
	default:
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
}

type entry struct {
	object cas.Object
	sum    [sumSize]byte
}

// check tells whether the content is that of the object.
func (e *entry) check(content []byte) error {
	right := sha256.Sum256(content) == e.sum
	if e.object.Compression == cas.None {
		right = cas.Sum(e.object.Hash.Algorithm(), content) == e.object.Hash
	}
	if !right {
		return fmt.Errorf("%w: object %v: %w", ErrFormat, e.object, cas.ErrCorrupt)
	}
	return nil
}

// readIndex reads the index. What it tells of fits into a part.
func readIndex(r *bufio.Reader) (entries []entry, err error) {
	n, err := binary.ReadUvarint(r)
	if err != nil || n > maxObjects {
		return nil, fmt.Errorf("%w: it has no number of objects", ErrFormat)
	}
	total := int64(0)
	for range n {
		e, err := readEntry(r)
		if err == nil {
			if total += e.object.Size; total > MaxPart {
				err = fmt.Errorf("more than %d bytes up to here", MaxPart)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%w: entry %d: %w", ErrFormat, len(entries), err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

const hashSize = 20

func readEntry(r *bufio.Reader) (e entry, err error) {
	var name [1 + hashSize + 2]byte
	if _, err := io.ReadFull(r, name[:]); err != nil {
		return e, err
	}
	if e.object.Hash, err = cas.NewHash(cas.Algorithm(name[0]), name[1:1+hashSize]); err != nil {
		return e, err
	}
	switch e.object.Suffix, e.object.Compression = cas.Suffix(name[1+hashSize]), cas.Compression(name[2+hashSize]); {
	case e.object.Suffix != cas.FileSuffix && e.object.Suffix != cas.PartialSuffix && e.object.Suffix != cas.CatalogSuffix:
		return e, fmt.Errorf("%q is no kind of object", name[1+hashSize])
	case e.object.Compression > cas.None:
		return e, fmt.Errorf("%d is no compression", name[2+hashSize])
	}
	e.object.Pinned = e.object.Suffix == cas.CatalogSuffix
	size, err := binary.ReadUvarint(r)
	if err != nil {
		return e, err
	}
	if size > MaxPart {
		return e, fmt.Errorf("an object of %d bytes", size)
	}
	e.object.Size = int64(size)
	_, err = io.ReadFull(r, e.sum[:])
	return e, err
}
