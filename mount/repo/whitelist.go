package repo

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
)

// WhitelistName is the whitelist's path below the repository's URL.
const WhitelistName = ".cvmfswhitelist"

// stamp is the form of the two times in a whitelist, in UTC.
const stamp = "20060102150405"

// Whitelist is the list of certificates that may sign a repository, itself
// signed with the repository's master key.
type Whitelist struct {
	Created, Expires time.Time
	Name             string // the fully qualified repository name
	Fingerprints     []Fingerprint

	signed letter // as parsed
}

// Fingerprint is the hash of a certificate's DER form.
type Fingerprint struct {
	cas.Hash
	Comment string
}

// ParseWhitelist reads a whitelist and makes sure that its hash is right.
// Whether signature and time are, Verify tells.
func ParseWhitelist(raw []byte) (*Whitelist, error) {
	l, err := cutLetter(raw)
	if err == nil {
		w := &Whitelist{signed: l}
		if err = w.parse(strings.Split(strings.TrimSuffix(string(l.text), "\n"), "\n")); err == nil {
			return w, nil
		}
	}
	return nil, fmt.Errorf("whitelist: %w: %w", ErrFormat, err)
}

func (w *Whitelist) parse(lines []string) (err error) {
	if len(lines) < 3 {
		return errors.New("it has no header")
	}
	if w.Created, err = time.Parse(stamp, lines[0]); err != nil {
		return fmt.Errorf("creation time %q", lines[0])
	}
	if w.Expires, err = time.Parse("E"+stamp, lines[1]); err != nil {
		return fmt.Errorf("expiry time %q", lines[1])
	}
	name, found := strings.CutPrefix(lines[2], "N")
	if !found {
		return fmt.Errorf("repository name %q", lines[2])
	}
	w.Name = name
	for i, line := range lines[3:] {
		if i < 2 && line == "Vpkcs7" {
			return errors.New("it is signed by the PKCS#7 variant, which is not supported: ask the repository's owner for a whitelist signed with the master key")
		}
		if i < 2 && strings.HasPrefix(line, "W") { // how a PKCS#7 signer is verified
			continue
		}
		if strings.TrimLeft(line, " \t#") == "" || line[0] == '#' {
			continue
		}
		f, err := ParseFingerprint(line)
		if err != nil {
			return err
		}
		w.Fingerprints = append(w.Fingerprints, f)
	}
	return nil
}

// ParseFingerprint reads "AB:CD:…[-SHAKE128]" and the comment after it.
func ParseFingerprint(line string) (Fingerprint, error) {
	text, comment := line, ""
	if i := strings.IndexAny(line, " \t#"); i >= 0 {
		text, comment = line[:i], strings.Trim(line[i:], " \t#")
	}
	h, err := cas.ParseHash(strings.ToLower(strings.ReplaceAll(text, ":", "")))
	if err != nil {
		return Fingerprint{}, fmt.Errorf("fingerprint %q: %w", text, err)
	}
	return Fingerprint{h, comment}, nil
}

// String writes the fingerprint and its comment as a whitelist has them.
func (f Fingerprint) String() string {
	digits, algorithm, _ := strings.Cut(strings.ToUpper(f.Hash.String()), "-")
	var pairs []string
	for pair := range slices.Chunk([]byte(digits), 2) {
		pairs = append(pairs, string(pair))
	}
	s := strings.Join(pairs, ":")
	if algorithm != "" {
		s += "-" + algorithm
	}
	if f.Comment != "" {
		s += " # " + f.Comment
	}
	return s
}

// Marshal writes the text, without hash and signature.
func (w *Whitelist) Marshal() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nE%s\nN%s\n", w.Created.UTC().Format(stamp), w.Expires.UTC().Format(stamp), w.Name)
	for _, f := range w.Fingerprints {
		fmt.Fprintln(&b, f)
	}
	return b.Bytes()
}

// SignWhitelist writes w as it is published, its hash made with a (SHA-1 in all
// official whitelists), signed with the master key.
func SignWhitelist(w *Whitelist, a cas.Algorithm, master *rsa.PrivateKey) ([]byte, error) {
	if strings.ContainsRune(w.Name, '\n') {
		return nil, fmt.Errorf("sign whitelist: %q is not a repository's name", w.Name)
	}
	raw, err := seal(w.Marshal(), a, func(hash []byte) ([]byte, error) {
		// Hash 0: the text is padded and signed as it is, the format wants no
		// DigestInfo around it.
		return rsa.SignPKCS1v15(rand.Reader, master, crypto.Hash(0), hash)
	})
	if err != nil {
		return nil, fmt.Errorf("sign whitelist of %s: %w", w.Name, err)
	}
	return raw, nil
}

// Verify checks the signature against any of the master keys, and the time.
func (w *Whitelist) Verify(masters []*rsa.PublicKey, now time.Time) error {
	hash := []byte(w.signed.hash.String())
	signed := slices.ContainsFunc(masters, func(key *rsa.PublicKey) bool {
		return rsa.VerifyPKCS1v15(key, crypto.Hash(0), hash, w.signed.signature) == nil
	})
	if !signed {
		return fmt.Errorf("whitelist of %s: %w: not signed by any of the %d configured master keys; check public_keys",
			w.Name, ErrWrongKey, len(masters))
	}
	if now.After(w.Expires) {
		const minute = "2006-01-02 15:04 MST"
		return fmt.Errorf("whitelist of %s: %w on %s, and here it is %s; its owner has to sign it again, or this host's clock is wrong",
			w.Name, ErrExpired, w.Expires.Format(minute), now.UTC().Format(minute))
	}
	return nil
}

// Allows tells whether the certificate may sign.
func (w *Whitelist) Allows(c *Certificate) bool {
	return slices.ContainsFunc(w.Fingerprints, func(f Fingerprint) bool { return c.Fingerprint(f.Algorithm()) == f.Hash })
}
