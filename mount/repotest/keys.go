package repotest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"sync"
	"testing"
	"time"
)

// The keys of a test process: making one takes a second under the race
// detector, and no test depends on a key being fresh.
var keys = [4]func() (*rsa.PrivateKey, error){
	sync.OnceValues(newKey), sync.OnceValues(newKey), sync.OnceValues(newKey), sync.OnceValues(newKey),
}

func newKey() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) }

// Key is the i-th of a few RSA keys made once a process. Build uses 0 as master
// key and 1 for the certificate; 2 and 3 are wrong ones.
func Key(t testing.TB, i int) *rsa.PrivateKey {
	t.Helper()
	key, err := keys[i]()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// certificate makes a self-signed certificate in PEM, out of date on purpose:
// clients do not look at its dates.
func certificate(t testing.TB, key *rsa.PrivateKey, fqrn string) []byte {
	t.Helper()
	text := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: fqrn + " CernVM-FS Release Managers"},
		NotBefore: time.Unix(1e9, 0), NotAfter: time.Unix(1.1e9, 0)}
	der, err := x509.CreateCertificate(rand.Reader, text, text, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
