// Package pack is the format of start-up packs: the objects that a start of an image reads, compressed together.
//
// A pack lies in the repository that it speeds up, in a directory of plain files: "profile" lists its objects, and the
// parts "0", "1", … hold them. Each part stands for itself: a magic line, then one zstd frame with an index and the contents.
// Together they compress better than one by one, and parts can be fetched side by side and used as they come.
//
// What is verified against what: a part is a file of the repository, so that its bytes are right if their hash is the one
// in the catalog, which hangs on the signed chain; that is checked by whoever fetched the part, before Read sees it. Read
// checks each object against what its name allows: plain objects against their hash itself. The hash of a compressed object
// is that of its compressed form, which a pack does not hold: there the SHA-256 that the publisher wrote beside it, and its
// size, have to do. So a publisher could give an object of their own repository another content than its name says, as they
// could by publishing another object; but not one of another repository, if what comes out of packs is kept apart for each.
package pack

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
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

// Part makes one part of objects and their contents.
func Part(objects []cas.Object, contents [][]byte) ([]byte, error) {
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
	// The window spans the part: similar files may be far apart.
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(8<<20), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return w.EncodeAll(plain, []byte(magic)), w.Close()
}

// Read takes a part apart and hands each object with its content to take, which must not keep the content. What is wrong
// with the part, or with one object in it, ends it: objects that were handed out are right.
func Read(part []byte, take func(o cas.Object, content []byte) error) error {
	frame, ok := bytes.CutPrefix(part, []byte(magic))
	if !ok || len(part) > MaxPart {
		return fmt.Errorf("%w: it does not begin as a part of one", ErrFormat)
	}
	r, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(MaxPart), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer r.Close()
	plain, err := r.DecodeAll(frame, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	entries, rest, err := parseIndex(plain)
	if err != nil {
		return err
	}
	for _, e := range entries {
		content := rest[:e.object.Size]
		rest = rest[e.object.Size:]
		if err := e.check(content); err != nil {
			return err
		}
		if err := take(e.object, content); err != nil {
			return err
		}
	}
	return nil
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

// parseIndex reads the index and checks that the contents behind it are of the length that it tells.
func parseIndex(b []byte) (entries []entry, contents []byte, err error) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > maxObjects {
		return nil, nil, fmt.Errorf("%w: it has no number of objects", ErrFormat)
	}
	b = b[k:]
	total := uint64(0)
	for range n {
		var e entry
		var size uint64
		if e, size, b, err = parseEntry(b); err != nil {
			return nil, nil, fmt.Errorf("%w: entry %d: %w", ErrFormat, len(entries), err)
		}
		total += size
		entries = append(entries, e)
	}
	if total != uint64(len(b)) {
		return nil, nil, fmt.Errorf("%w: %d bytes of contents, the index says %d", ErrFormat, len(b), total)
	}
	return entries, b, nil
}

const hashSize = 20

func parseEntry(b []byte) (e entry, size uint64, rest []byte, err error) {
	if len(b) < 1+hashSize+2 {
		return e, 0, nil, errors.New("cut off")
	}
	if e.object.Hash, err = cas.NewHash(cas.Algorithm(b[0]), b[1:1+hashSize]); err != nil {
		return e, 0, nil, err
	}
	b = b[1+hashSize:]
	switch e.object.Suffix, e.object.Compression = cas.Suffix(b[0]), cas.Compression(b[1]); {
	case e.object.Suffix != cas.FileSuffix && e.object.Suffix != cas.PartialSuffix && e.object.Suffix != cas.CatalogSuffix:
		return e, 0, nil, fmt.Errorf("%q is no kind of object", b[0])
	case e.object.Compression > cas.None:
		return e, 0, nil, fmt.Errorf("%d is no compression", b[1])
	}
	e.object.Pinned = e.object.Suffix == cas.CatalogSuffix
	size, k := binary.Uvarint(b[2:])
	if k <= 0 || size > MaxPart || len(b) < 2+k+sumSize {
		return e, 0, nil, errors.New("cut off")
	}
	e.object.Size = int64(size)
	copy(e.sum[:], b[2+k:])
	return e, size, b[2+k+sumSize:], nil
}
