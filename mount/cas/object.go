package cas

import "encoding/hex"

// Suffix is the letter after an object's hash that tells what kind of object it is.
type Suffix byte

// The suffixes of the format.
const (
	FileSuffix        Suffix = 0
	CatalogSuffix     Suffix = 'C'
	HistorySuffix     Suffix = 'H'
	CertificateSuffix Suffix = 'X'
	MetainfoSuffix    Suffix = 'M'
	PartialSuffix     Suffix = 'P'
)

// Compression is the form in which an object's bytes are stored and hashed.
type Compression uint8

// The compressions of the format. Catalogs, histories, certificates and metainfo are always zlib.
const (
	Zlib Compression = 0
	None Compression = 1
)

func (c Compression) String() string {
	switch c {
	case Zlib:
		return "zlib"
	case None:
		return "none"
	}
	return "unknown"
}

// MaxUnknownSize bounds the uncompressed bytes of an object whose size no catalog or manifest tells (certificates,
// histories, catalogs named by catalogs of the oldest schema), so that a few stored bytes cannot fill the disk.
const MaxUnknownSize = 512 << 20

// Object is all that is needed to fetch, check and present an object.
type Object struct {
	Hash        Hash // of the bytes as stored
	Suffix      Suffix
	Compression Compression
	Size        int64 // uncompressed bytes; -1 unknown, then at most MaxUnknownSize

	// External data lies outside the repository's storage, as a file below the external servers: its path there.
	External string
	// Offset is where a chunk of external data begins: the object is the range [Offset, Offset+Size) of that file.
	Offset int64

	// Alternative says that the repository's root holds a copy of the object, to be asked for where Name is not found.
	Alternative bool

	Pinned bool // kept in the cache as long as anything else can be evicted: catalogs
}

// Name returns the object's path below the repository's URL, such as "data/ab/cd…-shake128P".
func (o Object) Name() string {
	digits := hex.EncodeToString(o.Hash.sum[:])
	return "data/" + digits[:2] + "/" + digits[2:] + o.Hash.algorithm.suffix() + o.Suffix.String()
}

// AltName returns the path of a copy in the repository's root, which root catalog and certificate have where the manifest says so.
func (o Object) AltName() string {
	return ".cvmfsalt-" + o.Hash.String() + o.Suffix.String()
}

// String returns the letter, or "" for files.
func (s Suffix) String() string {
	if s == FileSuffix {
		return ""
	}
	return string(rune(s))
}

// String names the object in messages.
func (o Object) String() string {
	if o.External != "" {
		return o.External
	}
	return o.Name()
}

// request says what to fetch for the object.
func (o Object) request() Request {
	if o.External == "" {
		return Request{Name: o.Name()}
	}
	if o.Suffix == PartialSuffix {
		return Request{Name: o.External, Offset: o.Offset, Length: o.Size}
	}
	return Request{Name: o.External}
}

// limit is the largest number of uncompressed bytes that can be right.
func (o Object) limit() int64 {
	if o.Size < 0 {
		return MaxUnknownSize
	}
	return o.Size
}
