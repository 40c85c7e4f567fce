package fetch

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Credential is what shows a server who the user is, for repositories that are not open to all: a bearer token, a proxy
// certificate, or both. Files are read again when they change, as tokens live for minutes.
type Credential struct {
	token       string // "" where it is in the file
	tokenFile   string
	certificate string           // file with certificate, key and chain
	pair        *tls.Certificate // the same, where somebody else found it
	source      string           // of token and pair, for messages

	mu    sync.Mutex
	files map[string]readFile
}

type readFile struct {
	changed time.Time
	size    int64
	token   string
	pair    *tls.Certificate
}

// credentialPlaces are where FindCredential looks, for messages.
const credentialPlaces = "BEARER_TOKEN, BEARER_TOKEN_FILE, $XDG_RUNTIME_DIR/bt_uUID, X509_USER_PROXY"

// maxCredential bounds the files.
const maxCredential = 1 << 20

// FindCredential looks where grid tools leave tokens (in the order of the WLCG's bearer token discovery) and proxy
// certificates. What env names must be usable; the usual places may be empty, but then there must be something elsewhere.
func FindCredential(env func(string) string, uid int) (*Credential, error) {
	c := &Credential{files: make(map[string]readFile)}
	id := strconv.Itoa(uid)
	switch {
	case strings.TrimSpace(env("BEARER_TOKEN")) != "":
		c.token, c.source = strings.TrimSpace(env("BEARER_TOKEN")), "BEARER_TOKEN"
	case env("BEARER_TOKEN_FILE") != "":
		c.tokenFile = env("BEARER_TOKEN_FILE")
	default:
		c.tokenFile = firstOwn(uid, join(env("XDG_RUNTIME_DIR"), "bt_u"+id), "/tmp/bt_u"+id)
	}
	if c.certificate = env("X509_USER_PROXY"); c.certificate == "" {
		c.certificate = firstOwn(uid, "/tmp/x509up_u"+id)
	}
	var failed []error
	if c.tokenFile != "" {
		_, err := c.readToken()
		failed = append(failed, err)
	}
	if c.certificate != "" {
		_, err := c.readCertificate()
		failed = append(failed, err)
	}
	if err := errors.Join(failed...); err != nil {
		return nil, err
	}
	if c.token+c.tokenFile+c.certificate == "" {
		return nil, fmt.Errorf("neither a token nor a proxy certificate is there (%s)", credentialPlaces)
	}
	return c, nil
}

// NewCredential is one that source found: a token, a proxy certificate with its key and chain in PEM, or both.
func NewCredential(source, token string, certificate []byte) (*Credential, error) {
	c := &Credential{token: strings.TrimSpace(token), source: source}
	if strings.ContainsAny(c.token, " \t\r\n") {
		return nil, errors.New("bearer token: it is not one word")
	}
	if len(certificate) == 0 {
		return c, nil
	}
	var err error
	if c.pair, err = parsePair(certificate); err == nil {
		err = expired(c.pair)
	}
	if err != nil {
		return nil, fmt.Errorf("proxy certificate: %w", err)
	}
	return c, nil
}

// parsePair reads what is in one file for a proxy certificate: itself, its key and the chain.
func parsePair(text []byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(text, text)
	if err == nil && pair.Leaf == nil {
		pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0])
	}
	return &pair, err
}

func expired(pair *tls.Certificate) error {
	if time.Now().After(pair.Leaf.NotAfter) {
		return fmt.Errorf("it expired on %s; make a new one", pair.Leaf.NotAfter.Format(time.DateTime))
	}
	return nil
}

func join(dir, name string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name)
}

// firstOwn finds the first file that exists. In a directory that all can write only the user's own counts.
func firstOwn(uid int, paths ...string) string {
	for _, path := range paths {
		st, err := os.Stat(path)
		if path == "" || err != nil || !st.Mode().IsRegular() {
			continue
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); ok && int(sys.Uid) == uid {
			return path
		}
	}
	return ""
}

// String tells what the credential is and never shows it.
func (c *Credential) String() string {
	var parts []string
	switch {
	case c.token != "":
		parts = append(parts, "token of "+c.source)
	case c.tokenFile != "":
		parts = append(parts, "token "+c.tokenFile)
	}
	if c.certificate != "" {
		parts = append(parts, "certificate "+c.certificate)
	} else if c.pair != nil {
		parts = append(parts, "certificate of "+c.source)
	}
	return strings.Join(parts, ", ")
}

// read gives the parsed file, anew if it changed.
func (c *Credential) read(path string, parse func(text []byte, f *readFile) error) (readFile, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st, err := os.Stat(path)
	if err != nil {
		return readFile{}, err
	}
	if f, ok := c.files[path]; ok && f.changed.Equal(st.ModTime()) && f.size == st.Size() {
		return f, nil
	}
	if !st.Mode().IsRegular() || st.Size() > maxCredential {
		return readFile{}, fmt.Errorf("%s: not a regular file of at most %d bytes", path, maxCredential)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return readFile{}, err
	}
	f := readFile{changed: st.ModTime(), size: st.Size()}
	if err := parse(text, &f); err != nil {
		return readFile{}, err
	}
	c.files[path] = f
	return f, nil
}

func (c *Credential) readToken() (string, error) {
	if c.tokenFile == "" {
		return c.token, nil
	}
	f, err := c.read(c.tokenFile, func(text []byte, f *readFile) error {
		if f.token = strings.TrimSpace(string(text)); f.token == "" || strings.ContainsAny(f.token, " \t\r\n") {
			return fmt.Errorf("%s: it does not hold one token", c.tokenFile)
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("bearer token: %w", err)
	}
	return f.token, nil
}

func (c *Credential) readCertificate() (*tls.Certificate, error) {
	if c.pair != nil {
		if err := expired(c.pair); err != nil {
			return nil, fmt.Errorf("proxy certificate: %w", err)
		}
		return c.pair, nil
	}
	f, err := c.read(c.certificate, func(text []byte, f *readFile) (err error) {
		f.pair, err = parsePair(text)
		return err
	})
	if err == nil {
		err = expired(f.pair)
	}
	if err != nil {
		return nil, fmt.Errorf("proxy certificate %s: %w", c.certificate, err)
	}
	return f.pair, nil
}

// holder is the credential of a Client, nil for none. members tells that its repository is not open to all.
type holder struct {
	atomic.Pointer[Credential]
	members atomic.Bool
}

// Authorize makes the client show the credential, nil for none, to the servers of a repository that is not open to all, but
// only over TLS: a token is worth as much as the user's name to all who see it. Connections that were made without it are not
// used again.
func (c *Client) Authorize(own *Credential) {
	c.credential.Store(own)
	c.credential.members.Store(true)
	c.Close()
}

// sign adds the token to a request. On a redirect to another host net/http takes it off.
func (h *holder) sign(r *http.Request) error {
	own := h.Load()
	if own == nil || r.URL.Scheme != "https" || own.token+own.tokenFile == "" {
		return nil
	}
	token, err := own.readToken()
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return nil
}

// certificate answers a server that asks for one.
func (h *holder) certificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	own := h.Load()
	if own == nil || own.certificate == "" && own.pair == nil {
		return &tls.Certificate{}, nil
	}
	return own.readCertificate()
}
