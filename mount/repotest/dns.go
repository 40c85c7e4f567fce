package repotest

import (
	"net"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// DNS is a name server that knows one name for all addresses it is asked for, and can be told to fail.
type DNS struct {
	Addr string // host:port, UDP

	silent, refuse atomic.Bool
	asked          atomic.Int64
}

// ServeDNS answers questions about name with ip at addr ("127.0.0.1:0" for any port) until the test ends. Other names do not
// exist.
func ServeDNS(t testing.TB, addr, name string, ip [4]byte) *DNS {
	t.Helper()
	conn, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	d := &DNS{Addr: conn.LocalAddr().String()}
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			d.asked.Add(1)
			if answer := d.answer(buf[:n], name+".", ip); answer != nil {
				conn.WriteTo(answer, from)
			}
		}
	}()
	return d
}

// Fail makes the server fail from now on: with SERVFAIL, or when silent, without any answer.
func (d *DNS) Fail(silent bool) { d.silent.Store(silent); d.refuse.Store(!silent) }

// Heal makes it answer again.
func (d *DNS) Heal() { d.silent.Store(false); d.refuse.Store(false) }

// Asked counts the questions so far.
func (d *DNS) Asked() int64 { return d.asked.Load() }

func (d *DNS) answer(question []byte, name string, ip [4]byte) []byte {
	var m dnsmessage.Message
	if d.silent.Load() || m.Unpack(question) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	switch {
	case d.refuse.Load():
		m.RCode = dnsmessage.RCodeServerFailure
	case q.Name.String() != name:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 1}, Body: &dnsmessage.AResource{A: ip}}}
	}
	packed, err := m.Pack()
	if err != nil {
		return nil
	}
	return packed
}
