package fetch

import (
	"context"
	"errors"
	"net"
	"time"
)

// dialer connects, with a preference for one family of addresses. When a name cannot be resolved, it goes on with the
// addresses that the name had.
type dialer struct {
	net.Dialer
	family int
	names  *names
}

func newDialer(timeout time.Duration, family int, known *names) *dialer {
	return &dialer{Dialer: net.Dialer{Timeout: timeout, KeepAlive: 15 * time.Second}, family: family, names: known}
}

func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	name, port, err := net.SplitHostPort(addr)
	if err != nil || net.ParseIP(name) != nil {
		return d.dialFamily(ctx, network, addr)
	}
	addrs, missing := d.names.last(name)
	if missing {
		if conn := d.dialKnown(ctx, network, addrs, port); conn != nil {
			return conn, nil
		}
	}
	conn, err := d.dialFamily(ctx, network, addr)
	switch unresolved := errors.As(err, new(*net.DNSError)); {
	case err == nil:
		if to, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
			d.names.led(name, to.IP.String())
		}
	case unresolved && len(addrs) > 0:
		d.names.lost(name)
		if !missing {
			if conn := d.dialKnown(ctx, network, addrs, port); conn != nil {
				return conn, nil
			}
		}
	}
	return conn, err
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
