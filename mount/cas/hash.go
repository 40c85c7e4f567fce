package cas

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"

	//lint:ignore SA1019 old as it is, repositories are made with it
	"golang.org/x/crypto/ripemd160"
	"golang.org/x/crypto/sha3"
)

// Algorithm is a hash function of the repository format, numbered as in the format. The zero value is no algorithm.
type Algorithm uint8

// The algorithms that name objects. All of them give 20 bytes.
const (
	SHA1     Algorithm = 1
	RMD160   Algorithm = 2
	SHAKE128 Algorithm = 3
)

const (
	sumSize = 20
	hexSize = 2 * sumSize
)

// ParseAlgorithm reads an algorithm's name as configuration files spell it: sha1, rmd160 or shake128.
func ParseAlgorithm(name string) (Algorithm, error) {
	for _, a := range []Algorithm{SHA1, RMD160, SHAKE128} {
		if a.String() == name {
			return a, nil
		}
	}
	return 0, fmt.Errorf("hash algorithm %q: unknown; use sha1, rmd160 or shake128", name)
}

func (a Algorithm) String() string {
	switch a {
	case SHA1:
		return "sha1"
	case RMD160:
		return "rmd160"
	case SHAKE128:
		return "shake128"
	}
	return fmt.Sprintf("algorithm(%d)", uint8(a))
}

// New returns a running hash whose Sum has 20 bytes. It panics for a value that is none of the constants: algorithms
// enter the program through ParseAlgorithm, ParseHash and NewHash, which refuse those.
func (a Algorithm) New() hash.Hash {
	switch a {
	case SHA1:
		return sha1.New()
	case RMD160:
		return ripemd160.New()
	case SHAKE128:
		return shake{sha3.NewShake128()}
	}
	panic("cas: " + a.String() + " cannot hash")
}

// suffix is what follows the hexadecimal digits, so that a name tells its algorithm.
func (a Algorithm) suffix() string {
	switch a {
	case RMD160:
		return "-rmd160"
	case SHAKE128:
		return "-shake128"
	}
	return ""
}

// shake is SHAKE128 with the first 160 bits of its output as the sum.
type shake struct{ sha3.ShakeHash }

func (s shake) Size() int { return sumSize }

func (s shake) Sum(b []byte) []byte {
	var sum [sumSize]byte
	s.ShakeHash.Clone().Read(sum[:]) // squeezing ends absorbing, so it happens in a copy; it cannot fail
	return append(b, sum[:]...)
}

// Hash names an object: algorithm and digest. It is comparable, and its zero value means "no object".
type Hash struct {
	algorithm Algorithm
	sum       [sumSize]byte
}

var errHash = errors.New("want 40 lower-case hexadecimal digits, alone or followed by -rmd160 or -shake128")

// ParseHash reads the text form, which has no suffix letter: 40 hexadecimal digits and, except for SHA-1, the algorithm.
func ParseHash(s string) (Hash, error) {
	var h Hash
	if len(s) < hexSize {
		return Hash{}, fmt.Errorf("hash %q: %w", s, errHash)
	}
	switch s[hexSize:] {
	case "":
		h.algorithm = SHA1
	case "-rmd160":
		h.algorithm = RMD160
	case "-shake128":
		h.algorithm = SHAKE128
	default:
		return Hash{}, fmt.Errorf("hash %q: %w", s, errHash)
	}
	for _, c := range []byte(s[:hexSize]) {
		if 'A' <= c && c <= 'F' { // one spelling for each object: hex.Decode would take both
			return Hash{}, fmt.Errorf("hash %q: %w", s, errHash)
		}
	}
	if _, err := hex.Decode(h.sum[:], []byte(s[:hexSize])); err != nil {
		return Hash{}, fmt.Errorf("hash %q: %w", s, errHash)
	}
	return h, nil
}

// NewHash makes a hash of a digest's 20 bytes, as catalogs store it.
func NewHash(a Algorithm, sum []byte) (Hash, error) {
	if a < SHA1 || a > SHAKE128 {
		return Hash{}, fmt.Errorf("hash %x: unknown %v", sum, a)
	}
	if len(sum) != sumSize {
		return Hash{}, fmt.Errorf("hash %x: %d bytes, want %d", sum, len(sum), sumSize)
	}
	h := Hash{algorithm: a}
	copy(h.sum[:], sum)
	return h, nil
}

// Sum hashes b.
func Sum(a Algorithm, b []byte) Hash {
	w := a.New()
	w.Write(b)
	return finish(a, w)
}

func finish(a Algorithm, w hash.Hash) Hash {
	h := Hash{algorithm: a}
	w.Sum(h.sum[:0])
	return h
}

// String returns the text form that ParseHash reads; "" for the zero value.
func (h Hash) String() string {
	if h.IsZero() {
		return ""
	}
	return hex.EncodeToString(h.sum[:]) + h.algorithm.suffix()
}

// IsZero reports whether h names nothing.
func (h Hash) IsZero() bool { return h.algorithm == 0 }

// Algorithm returns the function that made h.
func (h Hash) Algorithm() Algorithm { return h.algorithm }

// Bytes returns a copy of the digest, 20 bytes.
func (h Hash) Bytes() []byte { return append([]byte(nil), h.sum[:]...) }

// MarshalText and UnmarshalText make hashes keys and values of JSON and of configuration files.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (h *Hash) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*h = Hash{}
		return nil
	}
	*h, err = ParseHash(string(b))
	return err
}
