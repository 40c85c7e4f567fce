package convert

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const (
	// silence is how long a registry may say nothing in an answer: long enough for one that has to fetch what it is asked
	// for, and not for ever, as the repository is locked meanwhile.
	silence = 2 * time.Minute
	// maxRedirects is net/http's own bound, which the library takes away.
	maxRedirects = 10
)

// registries is the way to all of them, so that connections are kept.
var registries = sync.OnceValue(func() http.RoundTripper { return newTransport(silence) })

// newTransport is the library's, with bounds.
func newTransport(silence time.Duration) http.RoundTripper {
	t := remote.DefaultTransport.(*http.Transport).Clone()
	dial := t.DialContext
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &boundedConn{c, silence}, nil
	}
	return &bounded{t}
}

// boundedConn is a connection whose other end may not be silent for long.
type boundedConn struct {
	net.Conn
	silence time.Duration
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.silence)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write begins the time anew for a read that is waiting already: a kept connection is always read.
func (c *boundedConn) Write(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.silence)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// bounded follows no redirect for ever, and goes from a registry at an address of a private network to others of such
// addresses, where a token or a blob is to be had.
type bounded struct{ next http.RoundTripper }

func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	n := 0
	for from := r.Response; from != nil && from.Request != nil; from = from.Request.Response {
		if n++; n >= maxRedirects {
			return nil, fmt.Errorf("%s: stopped after %d redirects", r.URL.Host, n)
		}
	}
	asked := r
	if address, ok := unmaskHost(r.URL.Host); ok {
		r = r.Clone(r.Context())
		r.URL.Host, r.Host = address, address
	}
	answer, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answer.Request, answer.Body = asked, telling{answer.Body}
	if isPrivate(r.URL.Hostname()) {
		maskHosts(answer.Header, r.URL.Host)
	}
	return answer, nil
}

// maskedDomain ends the names that stand for addresses. The library takes an address of a private network in an answer for
// the attempt of a registry to look into the network of its client, and has no option. That is right for a registry in the
// Internet; one in the private network itself names its token server like that. Link-local addresses, as clouds tell
// secrets at them, stay refused.
const maskedDomain = ".address.invalid"

// maskHosts masks the addresses in an answer but that of the server itself, to which its tokens go.
func maskHosts(h http.Header, server string) {
	for _, key := range []string{"Www-Authenticate", "Location"} {
		for i, value := range h[key] {
			_, rest, ok := strings.Cut(value, "://")
			if !ok {
				continue
			}
			host := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789abcdefABCDEF.:[]"))]
			if masked, ok := maskHost(host); ok && host != server {
				h[key][i] = strings.Replace(value, "://"+host, "://"+masked, 1)
			}
		}
	}
}

func maskHost(host string) (string, bool) {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.Trim(host, "[]"), ""
	}
	a, err := netip.ParseAddr(name)
	if err != nil || !isPrivate(name) {
		return "", false
	}
	name = hex.EncodeToString(a.AsSlice()) + maskedDomain
	if port != "" {
		name += ":" + port
	}
	return name, true
}

func unmaskHost(host string) (address string, ok bool) {
	digits, port, ok := strings.Cut(host, maskedDomain)
	if !ok {
		return "", false
	}
	b, err := hex.DecodeString(digits)
	if err != nil {
		return "", false
	}
	a, ok := netip.AddrFromSlice(b)
	if a.Is6() {
		return "[" + a.String() + "]" + port, ok
	}
	return a.String() + port, ok
}

// isPrivate tells the addresses, and the name, of the machine itself and of private networks.
func isPrivate(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && (a.IsLoopback() || a.IsPrivate())
}
