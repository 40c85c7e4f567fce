package publish

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/repo"
)

func TestKeysSaved(t *testing.T) {
	dir := filepath.Join(tempDir(t), "keys")
	k := testKeys()
	if err := k.Save(dir, testFQRN); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{".masterkey": 0o600, ".key": 0o600, ".crt": 0o644, ".pub": 0o644} {
		st, err := os.Stat(filepath.Join(dir, testFQRN+name))
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm()&^mode != 0 || st.Mode().Perm()&0o600 != 0o600 {
			t.Errorf("%s has mode %o", name, st.Mode())
		}
	}
	got, err := LoadKeys(dir, testFQRN)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Master.Equal(k.Master) || !got.Repository.Equal(k.Repository) || !got.Public[0].Equal(k.Public[0]) {
		t.Error("the keys that are loaded are not those that were saved")
	}
	if err := k.Save(dir, testFQRN); !errors.Is(err, fs.ErrExist) {
		t.Errorf("saved over keys that were there: %v", err)
	}
	if err := os.Chmod(filepath.Join(dir, testFQRN+".key"), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeys(dir, testFQRN); err != nil {
		t.Errorf("a key that a group shares: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, testFQRN+".masterkey")); err != nil {
		t.Fatal(err)
	}
	if got, err = LoadKeys(dir, testFQRN); err != nil || got.Master != nil {
		t.Errorf("without master key: %v", err)
	}
}

func TestCertificate(t *testing.T) {
	block, _ := pem.Decode(testKeys().Certificate)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if want := testFQRN + " CernVM-FS Release Managers"; c.Subject.CommonName != want {
		t.Errorf("common name %q, want %q", c.Subject.CommonName, want)
	}
}

func TestKeysRefused(t *testing.T) {
	k, other := testKeys(), testKeys()
	fresh, err := NewKeys(testFQRN, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	other.Repository = fresh.Repository // not of the certificate
	secret := "SECRETSECRET"
	for name, edit := range map[string]func(dir string) error{
		"another key's certificate": func(dir string) error { return other.Save(dir, testFQRN) },
		"no key":                    func(dir string) error { return nil },
		"no PEM": func(dir string) error {
			return errors.Join(k.Save(dir, testFQRN), os.WriteFile(filepath.Join(dir, testFQRN+".key"), []byte(secret), 0o600))
		},
		"a key that everybody can read": func(dir string) error {
			return errors.Join(k.Save(dir, testFQRN), os.Chmod(filepath.Join(dir, testFQRN+".key"), 0o644))
		},
		"a master key that everybody can write": func(dir string) error {
			return errors.Join(k.Save(dir, testFQRN), os.Chmod(filepath.Join(dir, testFQRN+".masterkey"), 0o602))
		},
		"no RSA key": func(dir string) error {
			text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte(secret)})
			return errors.Join(k.Save(dir, testFQRN), os.WriteFile(filepath.Join(dir, testFQRN+".key"), text, 0o600))
		},
	} {
		dir := tempDir(t)
		if err := edit(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKeys(dir, testFQRN); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestInitRefused(t *testing.T) {
	r := newTestRepo(t)
	if _, err := Init(t.Context(), r.s, InitOptions{Options: r.o, Keys: r.keys}); err == nil || !strings.Contains(err.Error(), "holds a repository already") {
		t.Errorf("a second time: %v", err)
	}
	for _, fqrn := range []string{"", "nodots", "UPPER.example.org", "a..b", "../x.y", "-a.b", strings.Repeat("a", 60) + ".b", "a b.c"} {
		if err := CheckPublishable(fqrn); err == nil {
			t.Errorf("CheckPublishable(%q) is content", fqrn)
		}
	}
	dir, err := OpenDirectory(tempDir(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Begin(t.Context(), dir, r.keys, r.o); err == nil || !strings.Contains(err.Error(), "flathub init") {
		t.Errorf("Begin without a repository: %v", err)
	}
	other := r.o
	other.FQRN = "other.example.org"
	if _, err := Begin(t.Context(), r.s, r.keys, other); !errors.Is(err, repo.ErrWrongName) {
		t.Errorf("Begin of another repository: %v", err)
	}
	// Nothing of the failed ones holds the lock.
	r.put("/f", "x")
}

func TestLockedRepository(t *testing.T) {
	r := newTestRepo(t)
	tx := r.begin()
	if _, err := Begin(t.Context(), r.s, r.keys, r.o); !errors.Is(err, ErrLocked) {
		t.Errorf("two transactions at once: %v", err)
	}
	if err := tx.Abort(); err != nil {
		t.Fatal(err)
	}
	r.put("/f", "x")
}

// TestReadersMeanwhile reads one revision while others are published.
func TestReadersMeanwhile(t *testing.T) {
	r := newTestRepo(t)
	r.put("/f", "first")
	done := make(chan error, 1)
	go func() {
		var err error
		for i := range 5 {
			err = errors.Join(err, publishTree(r, t, "/g", map[string]file{"/g": dirOf(2), "/g/h": text(fmt.Sprint(i))}))
		}
		done <- err
	}()
	for reading := true; reading; {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			reading = false
		default:
		}
		if got := r.read("")["/f"].data; got != "first" {
			t.Fatalf("read %q", got)
		}
	}
}
