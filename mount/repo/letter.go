package repo

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/flatrun/flatrun/mount/cas"
)

// maxLetter bounds the signed files: a whitelist of some hundred lines is the
// largest seen.
const maxLetter = 1 << 20

// letter is the frame that manifest and whitelist share: text, "--", the text's
// hash, and a signature of that hash.
type letter struct {
	text      []byte // with its last line feed
	hash      cas.Hash
	signature []byte
}

// cutLetter takes the frame apart and makes sure that the hash is the text's.
func cutLetter(raw []byte) (letter, error) {
	if len(raw) > maxLetter {
		return letter{}, fmt.Errorf("it has %d bytes, more than %d", len(raw), maxLetter)
	}
	i := bytes.Index(raw, []byte("\n--\n"))
	if i < 0 {
		return letter{}, errors.New("it has no signature")
	}
	l := letter{text: raw[:i+1]}
	line, signature, found := bytes.Cut(raw[i+len("\n--\n"):], []byte("\n"))
	if !found || len(signature) == 0 {
		return letter{}, errors.New("it ends before its signature")
	}
	h, err := cas.ParseHash(string(line))
	if err != nil {
		return letter{}, err
	}
	if got := cas.Sum(h.Algorithm(), l.text); got != h {
		return letter{}, fmt.Errorf("its text has the hash %s, signed is %s", got, h)
	}
	l.hash, l.signature = h, signature
	return l, nil
}

// seal is the reverse of cutLetter; sign signs the hash's text.
func seal(text []byte, a cas.Algorithm, sign func(hash []byte) ([]byte, error)) ([]byte, error) {
	hash := cas.Sum(a, text).String()
	signature, err := sign([]byte(hash))
	if err != nil {
		return nil, err
	}
	out := append(bytes.Clone(text), "--\n"+hash+"\n"...)
	return append(out, signature...), nil
}
