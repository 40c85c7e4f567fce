package repo

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/flatrun/flatrun/mount/cas"
)

// Certificate is what signs a repository's manifests. Its dates and issuer mean
// nothing: the whitelist alone says which certificates count.
type Certificate struct {
	DER []byte
	Key *rsa.PublicKey
}

// ParseCertificate reads a certificate in PEM.
func ParseCertificate(text []byte) (*Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("certificate: %w: it is not PEM", ErrFormat)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w: %w", ErrFormat, err)
	}
	key, ok := c.PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("certificate: %w: its key is a %T in place of RSA", ErrFormat, c.PublicKey)
	}
	return &Certificate{DER: block.Bytes, Key: key}, nil
}

// Fingerprint hashes the certificate as whitelists name it.
func (c *Certificate) Fingerprint(a cas.Algorithm) cas.Hash { return cas.Sum(a, c.DER) }

// LoadKeys reads master keys from PEM files, each of which may hold several.
func LoadKeys(paths ...string) ([]*rsa.PublicKey, error) {
	var keys []*rsa.PublicKey
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("public key: %w", err)
		}
		found, err := ParseKeys(text)
		if err != nil {
			return nil, fmt.Errorf("public key %s: %w", path, err)
		}
		keys = append(keys, found...)
	}
	return keys, nil
}

// ParseKeys reads all RSA public keys of a PEM text.
func ParseKeys(text []byte) ([]*rsa.PublicKey, error) {
	var keys []*rsa.PublicKey
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		key, err := parseKey(block)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("it holds no PEM block; expected an RSA public key")
	}
	return keys, nil
}

func parseKey(block *pem.Block) (*rsa.PublicKey, error) {
	switch block.Type {
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "PUBLIC KEY":
		any, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		if key, ok := any.(*rsa.PublicKey); ok {
			return key, nil
		}
		return nil, fmt.Errorf("it is a %T in place of an RSA key", any)
	}
	return nil, fmt.Errorf("it holds a %s in place of a public key", block.Type)
}

// MarshalKey writes a public key in PEM.
func MarshalKey(key *rsa.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}
