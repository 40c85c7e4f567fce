package fetch

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

// dialer connects, with a preference for one family of addresses. When a name cannot be resolved, it goes on with the
// addresses that the name had: a site whose name server is down still has its proxies.
type dialer struct {
	net.Dialer
	family int

	mu    sync.Mutex
	known map[string]*knownName
}

// knownName is where a name led.
type knownName struct {
	addrs   []string  // the latest last
	missing time.Time // when it could not be resolved; zero where the last time it could
}

const (
	// unresolvedFor is how long the addresses that are known come first once the name could not be resolved: to ask a name
	// server that does not answer takes seconds.
	unresolvedFor = time.Minute
	maxKnown      = 8 // addresses of a name
)

func newDialer(timeout time.Duration, family int) *dialer {
	return &dialer{Dialer: net.Dialer{Timeout: timeout, KeepAlive: 15 * time.Second}, family: family, known: map[string]*knownName{}}
}

func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	name, port, err := net.SplitHostPort(addr)
	if err != nil || net.ParseIP(name) != nil {
		return d.dialFamily(ctx, network, addr)
	}
	addrs, missing := d.lastOf(name)
	if missing {
		if conn := d.dialKnown(ctx, network, addrs, port); conn != nil {
			return conn, nil
		}
	}
	conn, err := d.dialFamily(ctx, network, addr)
	switch unresolved := errors.As(err, new(*net.DNSError)); {
	case err == nil:
		d.note(name, conn.RemoteAddr())
	case unresolved && len(addrs) > 0:
		d.note(name, nil)
		if !missing {
			if conn := d.dialKnown(ctx, network, addrs, port); conn != nil {
				return conn, nil
			}
		}
	}
	return conn, err
}

// lastOf answers where the name led, the latest first, and whether it could not be resolved a short while ago.
func (d *dialer) lastOf(name string) (addrs []string, missing bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.known[name]
	if k == nil {
		return nil, false
	}
	addrs = slices.Clone(k.addrs)
	slices.Reverse(addrs)
	return addrs, !k.missing.IsZero() && time.Since(k.missing) < unresolvedFor
}

// note notes where the name has led, or with nil that it could not be resolved.
func (d *dialer) note(name string, to net.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.known[name]
	if k == nil {
		k = &knownName{}
		d.known[name] = k
	}
	tcp, ok := to.(*net.TCPAddr)
	if !ok {
		k.missing = time.Now()
		return
	}
	k.missing = time.Time{}
	addr := tcp.IP.String()
	k.addrs = append(slices.DeleteFunc(k.addrs, func(a string) bool { return a == addr }), addr)
	if len(k.addrs) > maxKnown {
		k.addrs = k.addrs[1:]
	}
}

// dialKnown tries one address after the other; nil where none of them answers.
func (d *dialer) dialKnown(ctx context.Context, network string, addrs []string, port string) net.Conn {
	for _, a := range addrs {
		if conn, err := d.DialContext(ctx, network, net.JoinHostPort(a, port)); err == nil {
			return conn
		}
	}
	return nil
}

func (d *dialer) dialFamily(ctx context.Context, network, addr string) (net.Conn, error) {
	var first, second string
	switch d.family {
	case 4:
		first, second = "tcp4", "tcp6"
	case 6:
		first, second = "tcp6", "tcp4"
	default:
		return d.DialContext(ctx, network, addr)
	}
	conn, err := d.DialContext(ctx, first, addr)
	if err == nil || ctx.Err() != nil {
		return conn, err
	}
	conn, err2 := d.DialContext(ctx, second, addr)
	if err2 != nil { // the preferred family's error tells more, as most names have no other
		return nil, err
	}
	return conn, nil
}
