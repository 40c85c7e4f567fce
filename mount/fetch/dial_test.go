package fetch

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/repotest"
)

// With the name server gone, new connections go where the name led before, and nobody waits for it again and again.
func TestDialWithoutNameServer(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for name, silent := range map[string]bool{"refuses": false, "silent": true} {
		t.Run(name, func(t *testing.T) {
			dns := repotest.ServeDNS(t, "127.0.0.1:0", "stratum.example.org", [4]byte{127, 0, 0, 1})
			d := newDialer(time.Second, 0, &names{})
			d.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "udp", dns.Addr)
			}}
			addr := "stratum.example.org:" + u.Port()
			dial := func(addr string) error {
				conn, err := d.dial(t.Context(), "tcp", addr)
				if err == nil {
					conn.Close()
				}
				return err
			}
			dns.Fail(silent)
			if err := dial(addr); !errors.As(err, new(*net.DNSError)) {
				t.Fatalf("a name that never led anywhere: %v", err)
			}
			dns.Heal()
			if err := dial(addr); err != nil {
				t.Fatal(err)
			}
			dns.Fail(silent)
			if err := dial(addr); err != nil {
				t.Errorf("a name that led somewhere: %v", err)
			}
			asked := dns.Asked()
			for range 3 {
				if err := dial(addr); err != nil {
					t.Error(err)
				}
			}
			if now := dns.Asked(); now != asked {
				t.Errorf("asked %d times more", now-asked)
			}
			dns.Heal()
			d.names.known["stratum.example.org"].missing = time.Now().Add(-2 * unresolvedFor)
			if err := dial(addr); err != nil || dns.Asked() == asked {
				t.Errorf("afterwards the name server is not asked again: %v", err)
			}
			if err := dial("other.example.org:" + u.Port()); err == nil {
				t.Error("a name that does not exist was found")
			}
		})
	}
}
