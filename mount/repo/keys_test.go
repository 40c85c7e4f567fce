package repo_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"

	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/mount/repotest"
)

// FuzzKeys reads certificates, which come from a repository, and master keys.
func FuzzKeys(f *testing.F) {
	key := repotest.Key(f, 1)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, key.Public(), key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)}))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if c, err := repo.ParseCertificate(text); err == nil {
			if c.Key == nil || c.Key.N == nil || len(c.DER) == 0 {
				t.Fatalf("%+v", c)
			}
		}
		keys, err := repo.ParseKeys(text)
		if err == nil && len(keys) == 0 {
			t.Fatal("neither a key nor an error")
		}
		for _, k := range keys {
			if k == nil || k.N == nil {
				t.Fatalf("key %v", k)
			}
		}
	})
}
