package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
)

// blame says who failed, which decides who is replaced.
type blame uint8

const (
	blameHost blame = iota
	blameProxy
)

// failure is an attempt that went wrong.
type failure struct {
	route    route
	blame    blame
	transfer bool // the connection, not the answer: the same host and proxy may do better at once
	down     bool // it looks like a network or server that is down, which may pass; a definite answer does not
	err      error
}

// statusError is an answer that is not the file.
type statusError int

func (e statusError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("HTTP status %d %s", int(e), http.StatusText(int(e))))
}

func (e statusError) Is(target error) bool {
	return target == fs.ErrNotExist && (e == http.StatusNotFound || e == http.StatusGone)
}

var (
	errSlow     = errors.New("too slow")
	errSilent   = errors.New("no answer")
	errRange    = errors.New("the answer is another range than was asked for")
	errRedirect = errors.New("the server redirects to another place")
)

// classifyStatus applies the official client's table to an answer that is neither the file nor a redirect to follow.
func classifyStatus(rt route, resp *http.Response) *failure {
	f := &failure{route: rt, err: statusError(resp.StatusCode)}
	f.down = resp.StatusCode/100 == 5 || resp.StatusCode == http.StatusTooManyRequests
	switch code := resp.StatusCode; {
	case code == http.StatusTooManyRequests:
		f.transfer = true // a host connection error: to be tried again after a while
		return f
	case code == 301, code == 302, code == 303, code == 307:
		f.err = errRedirect
		return f
	case code/100 == 5, code == http.StatusBadRequest, code == http.StatusNotFound:
		if proxyError(resp.Header) {
			f.blame = blameProxy
		}
	default:
		f.blame = blameProxy
	}
	if rt.direct() {
		f.blame = blameHost
	}
	return f
}

// proxyError says that an error that looks like the host's was made by a proxy.
func proxyError(h http.Header) bool {
	if h.Get("X-Squid-Error") != "" {
		return true
	}
	for _, v := range h.Values("Proxy-Status") {
		if strings.Contains(v, "error=") {
			return true
		}
	}
	return false
}

// classifyError finds out what broke a connection. Behind a proxy it is the proxy unless the host's certificate is at fault.
func classifyError(rt route, err error) *failure {
	f := &failure{route: rt, transfer: true, down: true, err: err}
	if !rt.direct() {
		f.blame = blameProxy
	}
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &dns):
		f.transfer = dns.IsTimeout || dns.IsTemporary // a name that does not exist will not exist in a second
	case errors.As(err, &unknown), errors.As(err, &name), errors.As(err, &invalid), errors.As(err, &record):
		f.blame, f.transfer, f.down = blameHost, false, false
	}
	f.err = plain(err)
	return f
}

// plain strips the wrapping that net and net/http add, whose facts our own messages tell.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var dns *net.DNSError
	var op *net.OpError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		return fmt.Errorf("cannot resolve the name %s: %w", dns.Name, errors.New(dns.Err))
	case errors.Is(err, errSlow), errors.Is(err, errSilent):
		return err
	case errors.As(err, &timeout) && timeout.Timeout():
		return errSilent
	case errors.As(err, &op):
		var errno syscall.Errno
		if errors.As(op.Err, &errno) {
			return errno
		}
		return op.Err
	case errors.Is(err, io.EOF):
		return errors.New("connection closed without an answer")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("connection closed in the middle")
	}
	return err
}

// Error is a fetch that failed for good: what it was after, by which way the last attempt went, and why that failed.
type Error struct {
	Name    string
	Host    string
	Proxy   string // "" if there was none
	Elapsed time.Duration
	Tries   int
	Err     error // matches fs.ErrNotExist if the host says that it has no such file
	hint    string
	denied  bool // matches cas.ErrDenied
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "fetch %s: host %s (", e.Name, e.Host)
	if e.Proxy == "" {
		b.WriteString("no proxy")
	} else {
		b.WriteString("proxy " + e.Proxy)
	}
	fmt.Fprintf(&b, "): %v after %s", e.Err, elapsed(e.Elapsed))
	if e.Tries > 1 {
		fmt.Fprintf(&b, " and %d tries", e.Tries)
	}
	if e.hint != "" {
		b.WriteString("; " + e.hint)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes an Error match cas.ErrDenied where the server of a repository that is not open to all refused the user.
func (e *Error) Is(target error) bool { return target == cas.ErrDenied && e.denied }

func elapsed(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

// refused tells that the server knows the user not well enough.
func (f *failure) refused() bool {
	return f.err == statusError(http.StatusUnauthorized) || f.err == statusError(http.StatusForbidden)
}

// hint says what a user can do about the failure to get the file of that name. members says that its repository is not open to
// all: only there a credential is shown.
func (f *failure) hint(name string, members bool) string {
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.Is(f.err, fs.ErrNotExist) && !immutable(name):
		return "the server does not have the repository; check servers: in the configuration"
	case errors.Is(f.err, fs.ErrNotExist), errors.Is(f.err, context.Canceled):
		return ""
	case f.refused() && members:
		return "the server wants a valid token or proxy certificate (" + credentialPlaces + ")"
	case f.refused():
		return "the server or a proxy refuses this host; neither token nor certificate was shown, as the repository does not ask for them"
	case errors.Is(f.err, errRedirect):
		return "if that is right, set follow_redirects: yes in the configuration"
	case errors.As(f.err, &unknown):
		return "name a file with its authority's certificate, ca_bundle: in the configuration"
	case f.blame == blameProxy:
		return "check the network or proxies: in the configuration"
	}
	return "check the network or servers: in the configuration"
}
