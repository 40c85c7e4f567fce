package publish

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/flatrun/flatrun/mount/repo"
)

const (
	keyBits = 2048
	// The official tools' life time; clients do not look at it.
	certificateLife = 365 * 24 * time.Hour
)

// NewKeys makes a master key, a repository key and its certificate.
func NewKeys(fqrn string, now time.Time) (Keys, error) {
	var k Keys
	var err error
	if k.Master, err = rsa.GenerateKey(rand.Reader, keyBits); err != nil {
		return Keys{}, fmt.Errorf("keys of %s: %w", fqrn, err)
	}
	if k.Repository, err = rsa.GenerateKey(rand.Reader, keyBits); err != nil {
		return Keys{}, fmt.Errorf("keys of %s: %w", fqrn, err)
	}
	if k.Certificate, err = newCertificate(fqrn, k.Repository, now); err != nil {
		return Keys{}, fmt.Errorf("certificate of %s: %w", fqrn, err)
	}
	k.Public = []*rsa.PublicKey{&k.Master.PublicKey}
	return k, nil
}

// newCertificate is self-signed, with the name that the official tools give.
func newCertificate(fqrn string, key *rsa.PrivateKey, now time.Time) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: fqrn[:min(len(fqrn), 30)] + " CernVM-FS Release Managers"},
		NotBefore:    now.Add(-time.Hour), // clocks differ
		NotAfter:     now.Add(certificateLife),
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// The files of a repository in a directory of keys, named as the official
// tools name them.
func keyFiles(dir, fqrn string) (master, public, key, certificate string) {
	base := filepath.Join(dir, fqrn)
	return base + ".masterkey", base + ".pub", base + ".key", base + ".crt"
}

// Save writes the keys into dir; private ones can be read by their owner only.
// It refuses to replace files.
func (k Keys) Save(dir, fqrn string) error {
	master, public, key, certificate := keyFiles(dir, fqrn)
	var pub bytes.Buffer
	for _, p := range k.Public {
		text, err := repo.MarshalKey(p)
		if err != nil {
			return err
		}
		pub.Write(text)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("keys of %s: %w", fqrn, err)
	}
	files := []struct {
		name string
		mode fs.FileMode
		data []byte
	}{{key, 0o600, marshalPrivate(k.Repository)}, {certificate, 0o644, k.Certificate}, {public, 0o644, pub.Bytes()}}
	if k.Master != nil {
		files = append(files, files[0])
		files[len(files)-1].name, files[len(files)-1].data = master, marshalPrivate(k.Master)
	}
	for _, f := range files {
		if err := writeNew(f.name, f.data, f.mode); err != nil {
			return fmt.Errorf("keys of %s: %w", fqrn, err)
		}
	}
	return nil
}

func marshalPrivate(k *rsa.PrivateKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)})
}

func writeNew(name string, data []byte, mode fs.FileMode) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

// LoadKeys reads the keys of a repository from dir. The master key may be
// missing: it is needed to sign whitelists only.
func LoadKeys(dir, fqrn string) (Keys, error) {
	k, err := loadKeys(dir, fqrn)
	if err != nil {
		return Keys{}, fmt.Errorf("keys of %s: %w", fqrn, err)
	}
	return k, nil
}

func loadKeys(dir, fqrn string) (k Keys, err error) {
	master, public, key, certificate := keyFiles(dir, fqrn)
	if k.Repository, err = loadPrivate(key); err != nil {
		return k, err
	}
	if k.Certificate, err = os.ReadFile(certificate); err != nil {
		return k, err
	}
	cert, err := repo.ParseCertificate(k.Certificate)
	if err != nil {
		return k, fmt.Errorf("%s: %w", certificate, err)
	}
	if !cert.Key.Equal(&k.Repository.PublicKey) {
		return k, fmt.Errorf("%s is not the certificate of %s", certificate, key)
	}
	if k.Public, err = repo.LoadKeys(public); err != nil {
		return k, err
	}
	k.Master, err = loadPrivate(master)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	return k, err
}

// loadPrivate reads an RSA key in either of the PEM forms that OpenSSL writes.
// Its messages never quote the file.
func loadPrivate(name string) (*rsa.PrivateKey, error) {
	text, err := readSecret(name)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s is not a key in PEM form", name)
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if any, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		if key, ok := any.(*rsa.PrivateKey); ok {
			return key, nil
		}
	}
	return nil, fmt.Errorf("%s is not an RSA private key without passphrase", name)
}

// readSecret refuses a file that everybody can read, as ssh does: whoever has the key can publish. A group may: the release
// managers of a repository share its keys.
func readSecret(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if m := st.Mode().Perm(); m&0o007 != 0 {
		return nil, fmt.Errorf("%s is open to every user (mode %04o) and is not taken: chmod o= %s", name, m, name)
	}
	return io.ReadAll(f)
}
