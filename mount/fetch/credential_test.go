package fetch

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
)

// proxyCertificate writes what voms-proxy-init does: certificate, key, chain.
func proxyCertificate(t *testing.T, path string, until time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "a user"}, NotBefore: time.Unix(1e9, 0), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, text, text, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	own, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var file []byte
	for _, b := range []*pem.Block{{Type: "CERTIFICATE", Bytes: der}, {Type: "PRIVATE KEY", Bytes: own}, {Type: "CERTIFICATE", Bytes: der}} {
		file = append(file, pem.EncodeToMemory(b)...)
	}
	writeFile(t, path, string(file))
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFindCredential(t *testing.T) {
	dir, uid := t.TempDir(), os.Getuid()
	file := func(name, text string) string {
		writeFile(t, filepath.Join(dir, name), text)
		return filepath.Join(dir, name)
	}
	token, two, empty := file("token", "abc.def\n"), file("two", "a b"), file("empty", "\n")
	proxy, old := filepath.Join(dir, "proxy"), filepath.Join(dir, "old")
	proxyCertificate(t, proxy, time.Now().Add(time.Hour))
	proxyCertificate(t, old, time.Now().Add(-time.Hour))
	runtime := t.TempDir()
	writeFile(t, filepath.Join(runtime, fmt.Sprintf("bt_u%d", uid)), "runtime.token")
	tests := []struct {
		env  map[string]string
		want string // what it is, or a part of the error after "!"
	}{
		{map[string]string{"BEARER_TOKEN": "x.y", "BEARER_TOKEN_FILE": "/none"}, "token of BEARER_TOKEN"},
		{map[string]string{"BEARER_TOKEN_FILE": token}, "token " + token},
		{map[string]string{"XDG_RUNTIME_DIR": runtime}, "token " + runtime + "/bt_u"},
		{map[string]string{"BEARER_TOKEN_FILE": token, "X509_USER_PROXY": proxy}, "token " + token + ", certificate " + proxy},
		{map[string]string{"X509_USER_PROXY": proxy}, "certificate " + proxy},
		{map[string]string{"X509_USER_PROXY": old}, "!expired on"},
		{map[string]string{"X509_USER_PROXY": token}, "!proxy certificate"},
		{map[string]string{"X509_USER_PROXY": "/none"}, "!/none"},
		{map[string]string{"BEARER_TOKEN_FILE": two}, "!one token"},
		{map[string]string{"BEARER_TOKEN_FILE": empty}, "!one token"},
		{map[string]string{"BEARER_TOKEN_FILE": "/none"}, "!/none"},
		{map[string]string{"BEARER_TOKEN_FILE": dir}, "!not a regular file"},
	}
	for _, tt := range tests {
		c, err := FindCredential(func(name string) string { return tt.env[name] }, uid)
		want, wrong := strings.CutPrefix(tt.want, "!")
		switch {
		case wrong && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n")):
			t.Errorf("%v: error %v, want %q", tt.env, err, want)
		case !wrong && (err != nil || !strings.HasPrefix(c.String(), want) || strings.Contains(c.String(), "abc")):
			t.Errorf("%v: %v, %v; want %s", tt.env, c, err, want)
		}
	}
	// Nobody has this uid's files in /tmp.
	if _, err := FindCredential(func(string) string { return "" }, 4000000001); err == nil || !strings.Contains(err.Error(), "BEARER_TOKEN") {
		t.Errorf("nothing there: %v", err)
	}
}

// guarded serves over TLS to those who show a token, or else a certificate.
func guarded(t *testing.T, token *atomic.Value) (*httptest.Server, string) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want := token.Load().(string)
		if r.Header.Get("Authorization") != "Bearer "+want && (want != "" || len(r.TLS.PeerCertificates) == 0) {
			http.Error(w, "who are you?", http.StatusForbidden)
			return
		}
		io.WriteString(w, "secret")
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, bundle, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	return s, bundle
}

func ask(c *Client) (string, error) {
	body, err := c.Fetch(context.Background(), cas.Request{Name: "data/ab/cd"})
	if err != nil {
		return "", err
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	return string(b), err
}

func TestAuthorize(t *testing.T) {
	var token atomic.Value
	token.Store("abc.def")
	s, bundle := guarded(t, &token)
	c := newClient(t, Config{Servers: []string{s.URL}, CABundle: bundle, Patience: -1, MaxRetries: -1})
	c.Authorize(nil)
	if _, err := ask(c); err == nil || !strings.Contains(err.Error(), "403") || !strings.Contains(err.Error(), "X509_USER_PROXY") {
		t.Errorf("without a credential: %v", err)
	}
	dir := t.TempDir()
	file, proxy := filepath.Join(dir, "token"), filepath.Join(dir, "proxy")
	writeFile(t, file, "abc.def")
	proxyCertificate(t, proxy, time.Now().Add(time.Hour))
	authorize := func(key, value string) {
		t.Helper()
		own, err := FindCredential(func(name string) string { return map[string]string{key: value}[name] }, 4000000001)
		if err != nil {
			t.Fatal(err)
		}
		c.Authorize(own)
	}
	authorize("BEARER_TOKEN_FILE", file)
	if got, err := ask(c); err != nil || got != "secret" {
		t.Errorf("with a token: %q, %v", got, err)
	}
	token.Store("a.renewed.one")
	writeFile(t, file, "a.renewed.one")
	if got, err := ask(c); err != nil || got != "secret" {
		t.Errorf("with a renewed token: %q, %v", got, err)
	}
	token.Store("")
	authorize("X509_USER_PROXY", proxy)
	if got, err := ask(c); err != nil || got != "secret" {
		t.Errorf("with a certificate: %q, %v", got, err)
	}
}

// A token does not travel in the clear.
func TestTokenNeedsTLS(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("Authorization"))
	}))
	t.Cleanup(s.Close)
	c := newClient(t, Config{Servers: []string{s.URL}})
	own, err := FindCredential(func(name string) string { return map[string]string{"BEARER_TOKEN": "abc"}[name] }, 4000000001)
	if err != nil {
		t.Fatal(err)
	}
	c.Authorize(own)
	if got, err := ask(c); err != nil || got != "" {
		t.Errorf("the server was told %q, %v", got, err)
	}
}
