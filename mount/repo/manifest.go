package repo

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"fmt"
	"strconv"
	"strings"

	"github.com/flatrun/flatrun/mount/cas"
)

// ManifestName is the manifest's path below the repository's URL.
const ManifestName = ".cvmfspublished"

// rootPath is the R field: the MD5 of the empty path.
const rootPath = "d41d8cd98f00b204e9800998ecf8427e"

// Manifest is a repository's signed head. Absent fields are zero.
type Manifest struct {
	Root        cas.Hash // C: root catalog
	RootSize    int64    // B: its uncompressed bytes, -1 where absent
	TTL         int64    // D: seconds
	Revision    uint64   // S
	Collectable bool     // G: garbage collection allowed
	AltPaths    bool     // A: root catalog and certificate also lie in the repository's root
	Micro       cas.Hash // L: reserved
	Name        string   // N: the fully qualified repository name
	Certificate cas.Hash // X
	History     cas.Hash // H: the database of tags
	Timestamp   int64    // T: seconds since 1970
	Metainfo    cas.Hash // M
	Reflog      cas.Hash // Y

	signed letter // as parsed
}

// defaultTTL is what a manifest without D means.
const defaultTTL = 240

// ParseManifest reads a manifest and makes sure that its hash is right. Whether
// its signature is, Verify tells.
func ParseManifest(raw []byte) (*Manifest, error) {
	l, err := cutLetter(raw)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w: %w", ErrFormat, err)
	}
	m := &Manifest{signed: l, TTL: defaultTTL, RootSize: -1}
	seen := map[byte]bool{}
	for line := range strings.Lines(string(l.text)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			return nil, fmt.Errorf("manifest: %w: empty line", ErrFormat)
		}
		if seen[line[0]] {
			return nil, fmt.Errorf("manifest: %w: field %c is there twice", ErrFormat, line[0])
		}
		seen[line[0]] = true
		if err := m.set(line[0], line[1:]); err != nil {
			return nil, fmt.Errorf("manifest: %w: field %c: %w", ErrFormat, line[0], err)
		}
	}
	for _, key := range []byte("CRDS") {
		if !seen[key] {
			return nil, fmt.Errorf("manifest: %w: field %c is missing", ErrFormat, key)
		}
	}
	return m, nil
}

// set takes one field; letters without a meaning to a reader are passed over.
func (m *Manifest) set(key byte, value string) (err error) {
	switch key {
	case 'C':
		m.Root, err = cas.ParseHash(value)
	case 'B':
		m.RootSize, err = parseCount(value)
	case 'R':
		if value != rootPath {
			err = fmt.Errorf("%q is not the root path", value)
		}
	case 'D':
		m.TTL, err = parseCount(value)
	case 'S':
		m.Revision, err = strconv.ParseUint(value, 10, 64)
	case 'G':
		m.Collectable, err = parseYes(value)
	case 'A':
		m.AltPaths, err = parseYes(value)
	case 'L':
		m.Micro, err = cas.ParseHash(value)
	case 'N':
		m.Name = value
	case 'X':
		m.Certificate, err = cas.ParseHash(value)
	case 'H':
		m.History, err = cas.ParseHash(value)
	case 'T':
		m.Timestamp, err = parseCount(value)
	case 'M':
		m.Metainfo, err = cas.ParseHash(value)
	case 'Y':
		m.Reflog, err = cas.ParseHash(value)
	}
	return err
}

func parseCount(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err
}

func parseYes(s string) (bool, error) {
	if s != "yes" && s != "no" {
		return false, fmt.Errorf("%q is neither yes nor no", s)
	}
	return s == "yes", nil
}

// Marshal writes the fields in the official order, without hash and signature.
func (m *Manifest) Marshal() []byte {
	var b bytes.Buffer
	add := func(key byte, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%c%s\n", key, value)
		}
	}
	yes := map[bool]string{true: "yes", false: "no"}
	add('C', m.Root.String())
	add('B', strconv.FormatInt(m.RootSize, 10))
	add('R', rootPath)
	add('D', strconv.FormatInt(m.TTL, 10))
	add('S', strconv.FormatUint(m.Revision, 10))
	add('G', yes[m.Collectable])
	add('A', yes[m.AltPaths])
	add('L', m.Micro.String())
	add('N', m.Name)
	add('X', m.Certificate.String())
	add('H', m.History.String())
	add('T', strconv.FormatInt(m.Timestamp, 10))
	add('M', m.Metainfo.String())
	add('Y', m.Reflog.String())
	return b.Bytes()
}

// SignManifest writes m as it is published. The hash is of the root catalog's
// algorithm; key belongs to the certificate m names.
func SignManifest(m *Manifest, key *rsa.PrivateKey) ([]byte, error) {
	if strings.ContainsRune(m.Name, '\n') {
		return nil, fmt.Errorf("sign manifest: %q is not a repository's name", m.Name)
	}
	raw, err := seal(m.Marshal(), m.Root.Algorithm(), func(hash []byte) ([]byte, error) {
		digest := sha1.Sum(hash)
		return rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA1, digest[:])
	})
	if err != nil {
		return nil, fmt.Errorf("sign manifest of %s: %w", m.Name, err)
	}
	return raw, nil
}

// Verify checks the signature: RSA over the SHA-1 of the hash's text, whatever
// algorithm the repository uses.
func (m *Manifest) Verify(key *rsa.PublicKey) error {
	digest := sha1.Sum([]byte(m.signed.hash.String()))
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA1, digest[:], m.signed.signature); err != nil {
		return fmt.Errorf("manifest of %s: %w: not signed by its certificate %s", m.Name, ErrWrongKey, m.Certificate)
	}
	return nil
}
