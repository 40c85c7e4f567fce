package fetch

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/cas"
)

// patience bounds what tests wait for; nothing depends on how soon it happens.
const patience = 60 * time.Second

// object is the name under which sites serve their content; head is that of a file that may change.
const (
	object = "data/ab/cdef"
	head   = ".cvmfspublished"
)

// site is a real web server with one content under every path, and faults to order.
type site struct {
	*httptest.Server
	content []byte
	mu      sync.Mutex
	seen    []*http.Request
	fault   func(n int, w http.ResponseWriter, r *http.Request) bool // answers the n-th request (from 1) if it returns true
	conns   int
}

func newSite(t testing.TB, content []byte, fault func(n int, w http.ResponseWriter, r *http.Request) bool) *site {
	s := startSite(content, fault)
	s.Start()
	t.Cleanup(s.stop)
	return s
}

func startSite(content []byte, fault func(int, http.ResponseWriter, *http.Request) bool) *site {
	s := &site{content: content, fault: fault}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			s.mu.Lock()
			s.conns++
			s.mu.Unlock()
		}
	}
	return s
}

// stop does not wait for handlers that stall on purpose.
func (s *site) stop() {
	s.CloseClientConnections()
	s.Close()
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.seen = append(s.seen, r)
	n := len(s.seen)
	s.mu.Unlock()
	if s.fault != nil && s.fault(n, w, r) {
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.content))
}

func (s *site) requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*http.Request(nil), s.seen...)
}

func (s *site) host() string { return strings.TrimPrefix(s.URL, "http://") }

// status is a fault that answers with a code.
func status(code int) func(int, http.ResponseWriter, *http.Request) bool {
	return func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(code)
		return true
	}
}

// first applies a fault to the first n requests only.
func first(n int, fault func(int, http.ResponseWriter, *http.Request) bool) func(int, http.ResponseWriter, *http.Request) bool {
	return func(k int, w http.ResponseWriter, r *http.Request) bool { return k <= n && fault(k, w, r) }
}

// cut promises all of the content and closes the connection after some of it; reset makes it an abrupt end.
func (s *site) cut(at int, reset bool) func(int, http.ResponseWriter, *http.Request) bool {
	return func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		conn, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		if at >= 0 {
			buf.WriteString("HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(len(s.content)) + "\r\n\r\n")
			buf.Write(s.content[:at])
			buf.Flush()
		}
		if reset {
			conn.(*net.TCPConn).SetLinger(0)
		}
		conn.Close()
		return true
	}
}

// stall sends some of the content and then nothing until the client leaves.
func (s *site) stall(at int) func(int, http.ResponseWriter, *http.Request) bool {
	return func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if at >= 0 {
			w.Header().Set("Content-Length", strconv.Itoa(len(s.content)))
			w.Write(s.content[:at])
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
		return true
	}
}

// forwarder is a real forward proxy for plain HTTP.
type forwarder struct {
	*httptest.Server
	mu    sync.Mutex
	n     int
	fault func(w http.ResponseWriter, r *http.Request) bool
}

func newForwarder(t testing.TB, fault func(http.ResponseWriter, *http.Request) bool) *forwarder {
	p := &forwarder{fault: fault}
	p.Server = httptest.NewServer(p)
	t.Cleanup(func() { p.CloseClientConnections(); p.Close() })
	return p
}

func (p *forwarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.n++
	p.mu.Unlock()
	if p.fault != nil && p.fault(w, r) {
		return
	}
	if r.URL.Host == "" {
		http.Error(w, "not a proxy request", http.StatusNotImplemented)
		return
	}
	out := r.Clone(r.Context())
	out.RequestURI = ""
	resp, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		w.Header().Set("X-Squid-Error", "ERR_CONNECT_FAIL 111")
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	defer resp.Body.Close()
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(resp.StatusCode)
	io.Copy(w, resp.Body)
}

func (p *forwarder) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

// deadURL is the address of a server that is down. Its port is bound by a socket that does not listen, so that nobody else gets it.
func deadURL(t testing.TB) string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	addr, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return "http://127.0.0.1:" + strconv.Itoa(addr.(*unix.SockaddrInet4).Port)
}

// noName is a host name that cannot be resolved, which is found out without asking anybody: a label is too long.
var noName = strings.Repeat("x", 64) + ".invalid"

// quick makes waits short and chances many, so that tests do not wait and do not depend on the machine's speed.
func quick(cfg Config) Config {
	setDefault(&cfg.BackoffInit, time.Millisecond)
	setDefault(&cfg.BackoffMax, 5*time.Millisecond)
	setDefault(&cfg.Timeout, patience)
	setDefault(&cfg.TimeoutDirect, patience)
	setDefault(&cfg.Deadline, 2*patience)
	setDefault(&cfg.Patience, -1)
	return cfg
}

func newClient(t testing.TB, cfg Config) *Client {
	t.Helper()
	c, err := New(quick(cfg))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// get fetches all of a request.
func get(c *Client, r cas.Request) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	body, err := c.Fetch(ctx, r)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

func wantContent(t *testing.T, c *Client, r cas.Request, want []byte) {
	t.Helper()
	got, err := get(c, r)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, want %d: they differ", len(got), len(want))
	}
}

// noise returns bytes that repeat nowhere, so that a wrong offset shows.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b)
	return b
}
