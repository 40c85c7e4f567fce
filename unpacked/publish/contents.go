package publish

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"

	"github.com/flatrun/flatrun/mount/cas"
)

// An object is named by its stored form, of which one content has many: each compressor makes another, and so does each
// version of one. The index of contents tells by the bytes themselves which object the repository has of them, so that
// they are stored once. It is a file of its own beside the lock: what it loses costs space, nothing else.
//
// Whoever can write the storage must not choose what we sign a name for, so the index is signed by the repository's key.
// An old one put back is harmless: an object's content never changes, so what was true stays true, and whether the object
// is still there is asked each time. Another key is another index: after a change of keys it begins anew.
const contentsName = ".flathub_contents"

const (
	// indexed is the size from which a content is worth a record: of smaller ones there are many, and little is gained.
	indexed = 256 << 10
	// maxContents bounds the index to 84 MB, in memory and to be read and written by a transaction with large contents.
	// That is half a terabyte of the smallest and 16 TB of whole chunks. What comes later is not noted.
	maxContents = 2_000_000

	// Version 1 had SHA-256 of the contents.
	contentsKind = "flathub contents "
	contentsHead = contentsKind + "2\n"
	recordSize   = len(contentKey{}) + len(storedForm{})
)

// contentKey names a content, and what its object's name has besides the digest: the contentSum, algorithm, suffix.
type contentKey [sumSize + 2]byte

const sumSize = aes.BlockSize

// contentSum is a sum of contents with a secret, five times as fast as SHA-256: a universal hash, enciphered. The hash is that
// of GCM with one nonce for all, over additional data only: two contents of 16 MB that were chosen without knowing the secret
// have the same with a chance of 2^-108. As what is stored of it is enciphered with another key, nobody learns the secret
// from it. Whoever has the repository's key has the secret, too, and could sign what he likes anyway.
type contentSum struct {
	hash cipher.AEAD
	hide cipher.Block
}

// newContentSum makes the secret of the repository's key.
func newContentSum(key *rsa.PrivateKey) (s contentSum, err error) {
	secret, err := hkdf.Key(sha256.New, x509.MarshalPKCS1PrivateKey(key), nil, contentsHead, 2*aes.BlockSize)
	if err != nil {
		return s, err
	}
	block, err := aes.NewCipher(secret[:aes.BlockSize])
	if err != nil {
		return s, err
	}
	if s.hash, err = cipher.NewGCM(block); err != nil {
		return s, err
	}
	s.hide, err = aes.NewCipher(secret[aes.BlockSize:])
	return s, err
}

func (s *contentSum) key(data []byte, a cas.Algorithm, suffix cas.Suffix) (k contentKey) {
	var once [12]byte
	s.hash.Seal(k[:0], once[:], nil, data)
	s.hide.Encrypt(k[:sumSize], k[:sumSize])
	k[sumSize], k[sumSize+1] = byte(a), byte(suffix)
	return k
}

// object is the one of content k with that digest.
func (k contentKey) object(digest []byte) (o cas.Object, err error) {
	o.Suffix = cas.Suffix(k[sumSize+1])
	o.Hash, err = cas.NewHash(cas.Algorithm(k[sumSize]), digest)
	return o, err
}

// storedForm is the digest of an object and its size.
type storedForm [20 + 4]byte

func (f storedForm) digest() []byte { return f[:20] }
func (f storedForm) size() int64    { return int64(binary.BigEndian.Uint32(f[20:])) }

func newStoredForm(h cas.Hash, size uint32) (f storedForm) {
	binary.BigEndian.PutUint32(f[copy(f[:], h.Bytes()):], size)
	return f
}

// records are a contentKey and a storedForm each, in order of the keys, one of each.
type records []byte

func (r records) len() int         { return len(r) / recordSize }
func (r records) at(i int) []byte  { return r[i*recordSize : (i+1)*recordSize] }
func (r records) key(i int) []byte { return r.at(i)[:len(contentKey{})] }

// search is where the record of k is or belongs.
func (r records) search(k contentKey) (i int, ok bool) {
	i = sort.Search(r.len(), func(i int) bool { return bytes.Compare(r.key(i), k[:]) >= 0 })
	return i, i < r.len() && bytes.Equal(r.key(i), k[:])
}

func (r records) find(k contentKey) (f storedForm, ok bool) {
	i, ok := r.search(k)
	if ok {
		copy(f[:], r.at(i)[len(k):])
	}
	return f, ok
}

// appendMerged appends r and fresh, of which none is in r.
func (r records) appendMerged(b []byte, fresh map[contentKey]storedForm) []byte {
	for _, k := range slices.SortedFunc(maps.Keys(fresh), func(a, b contentKey) int { return bytes.Compare(a[:], b[:]) }) {
		i, _ := r.search(k)
		f := fresh[k]
		b = append(b, r[:i*recordSize]...)
		b = append(append(b, k[:]...), f[:]...)
		r = r[i*recordSize:]
	}
	return append(b, r...)
}

// filter keeps the records, in their place, whose objects are in kept.
func (r records) filter(kept *objectSet) records {
	left := r[:0]
	for i := range r.len() {
		rec := r.at(i)
		o, err := contentKey(rec[:len(contentKey{})]).object(storedForm(rec[len(contentKey{}):]).digest())
		if err == nil && kept.has(keyOf(o)) {
			left = append(left, rec...)
		}
	}
	return left
}

// sealContents is the index as stored: a head, the records, a signature.
func sealContents(r records, fresh map[contentKey]storedForm, fqrn string, key *rsa.PrivateKey) ([]byte, error) {
	b := make([]byte, 0, len(contentsHead)+len(r)+len(fresh)*recordSize+key.Size())
	b = r.appendMerged(append(b, contentsHead...), fresh)
	sign, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sumContents(records(b[len(contentsHead):]), fqrn))
	if err != nil {
		return nil, fmt.Errorf("sign the index of contents: %w", err)
	}
	return append(b, sign...), nil
}

// sumContents is what is signed. The head keeps it apart from all else that the key signs.
func sumContents(r records, fqrn string) []byte {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s%s\n", contentsHead, fqrn)
	sum.Write(r)
	return sum.Sum(nil)
}

// openContents returns the records of a stored index, which lie in b.
func openContents(b []byte, fqrn string, key *rsa.PublicKey) (records, error) {
	r, sign, err := parseContents(b, key.Size())
	if err != nil {
		return nil, err
	}
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, sumContents(r, fqrn), sign) != nil {
		return nil, errors.New("it is not signed by our key of this repository")
	}
	return r, nil
}

// parseContents takes an index apart.
func parseContents(b []byte, signature int) (r records, sign []byte, err error) {
	rest, ok := bytes.CutPrefix(b, []byte(contentsHead))
	n := len(rest) - signature
	switch {
	case !ok && bytes.HasPrefix(b, []byte(contentsKind)):
		return nil, nil, errors.New("it is of another version of flathub")
	case !ok || n < 0 || n%recordSize != 0:
		return nil, nil, errors.New("it is cut off, or no such index")
	}
	r = rest[:n:n]
	for i := 1; i < r.len(); i++ {
		if bytes.Compare(r.key(i-1), r.key(i)) >= 0 {
			return nil, nil, fmt.Errorf("its record %d is out of order", i)
		}
	}
	return r, rest[n:], nil
}
