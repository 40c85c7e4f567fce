package unpacked

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Digest names content the OCI way, "algorithm:hex". Only ParseDigest and Sum
// make valid ones; the zero value stands for no digest.
type Digest string

// digestLen is the number of hex digits of each digest algorithm in use.
var digestLen = map[string]int{"sha256": 64, "sha384": 96, "sha512": 128}

// ParseDigest checks "sha256:<64 hex digits>" (or sha384, sha512). Upper case
// digits are refused, as OCI does: two spellings would be two paths.
func ParseDigest(s string) (Digest, error) {
	algorithm, digits, ok := strings.Cut(s, ":")
	if !ok {
		return "", fmt.Errorf("digest %q: no algorithm; want sha256:<64 hex digits>", s)
	}
	want, ok := digestLen[algorithm]
	if !ok {
		return "", fmt.Errorf("digest %q: algorithm %q is not known; want sha256, sha384 or sha512", s, algorithm)
	}
	if len(digits) != want || strings.Trim(digits, "0123456789abcdef") != "" {
		return "", fmt.Errorf("digest %q: want %d lower-case hex digits after %s", s, want, algorithm)
	}
	return Digest(s), nil
}

// Sum is the sha256 digest of b.
func Sum(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// Algorithm is the part before the colon.
func (d Digest) Algorithm() string {
	algorithm, _, _ := strings.Cut(string(d), ":")
	return algorithm
}

// Hex is the part after the colon, which is what the layout's paths carry.
func (d Digest) Hex() string {
	_, digits, _ := strings.Cut(string(d), ":")
	return digits
}

func (d Digest) String() string { return string(d) }
