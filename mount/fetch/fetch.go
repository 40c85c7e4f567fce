// Package fetch gets files of a repository over HTTP: hosts, proxies, retries, deadlines.
//
// A Client has a list of hosts that serve the same repository and a chain of proxy groups before them, and uses one host
// through one proxy at a time. What fails decides who is to blame, by the rules of the official client: a host is replaced
// by the next host, a proxy by the next of its group and then by the next group, and after a while the first ones get
// another chance. Nothing that arrives is trusted; verifying is the business of package cas, which can tell the Client
// that bytes were wrong.
//
// Every wait has an end: connections and silences by the time-outs, a trickle by the low-speed limit, and all attempts
// together by the deadline. A transfer that breaks in the middle goes on where it stopped, at another host if need be.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
)

// Config says where a repository is served and how patient to be. Every field but Servers may be left zero.
type Config struct {
	Servers    []string // base URLs in order of preference: http, https or file
	MaxServers int      // use only the first ones; 0 is all

	Proxies         string   // official syntax: groups separated by ";", their members by "|"; DIRECT; auto; "" is DIRECT
	FallbackProxies string   // groups to append; DIRECT in Proxies is then ignored
	ShardProxies    bool     // each file by one proxy of the group, the same for all clients: their caches then hold more together
	PACURLs         []string // scripts that "auto" asks, http or file; none is http://wpad/wpad.dat
	GeoAPI          bool     // order Servers by distance, as one of them sees it
	GeoProxy        string   // name to ask the distance from; "" is the proxy in use

	Timeout       time.Duration // through a proxy: to connect, and of silence; 0 is 5 s
	TimeoutDirect time.Duration // without a proxy; 0 is 10 s
	LowSpeedLimit int64         // bytes per second below which a transfer is given up; 0 is 1024, negative none
	Deadline      time.Duration // the longest a fetch goes without a byte, over all attempts; 0 is 60 s
	// Patience is how long after the network was last seen working fetches of objects go on trying all hosts and proxies
	// again, instead of failing when each of them failed. Fetches of the repository's head never do, so that work
	// without network begins at once. 0 is 20 s, negative is none.
	Patience time.Duration

	MaxRetries  int           // of the same host and proxy after a broken transfer; 0 is 1, negative none
	BackoffInit time.Duration // upper bound of the first, random wait before such a retry; 0 is 2 s
	BackoffMax  time.Duration // upper bound of the doubled waits; 0 is 10 s
	ProxyReset  time.Duration // until the first proxy group is tried again; 0 is 300 s
	HostReset   time.Duration // until the first host is tried again; 0 is 1800 s

	FollowRedirects bool
	CABundle        string // file of PEM certificates to trust besides the system's
	IPFamily        int    // 4 or 6: prefer its addresses
	UserAgent       string // "" is flatrun
	Concurrency     int    // transfers at the same time; 0 is 64
	Log             *slog.Logger
}

func setDefault[T comparable](p *T, v T) {
	if *p == *new(T) {
		*p = v
	}
}

func (c *Config) defaults() {
	setDefault(&c.Timeout, 5*time.Second)
	setDefault(&c.TimeoutDirect, 10*time.Second)
	setDefault(&c.LowSpeedLimit, 1024)
	setDefault(&c.Deadline, time.Minute)
	setDefault(&c.Patience, 20*time.Second)
	setDefault(&c.MaxRetries, 1)
	setDefault(&c.BackoffInit, 2*time.Second)
	setDefault(&c.BackoffMax, 10*time.Second)
	setDefault(&c.ProxyReset, 300*time.Second)
	setDefault(&c.HostReset, 1800*time.Second)
	setDefault(&c.UserAgent, "flatrun")
	setDefault(&c.Concurrency, 64)
	setDefault(&c.Log, slog.New(slog.DiscardHandler))
}

// Client is a cas.Fetcher over HTTP. It is safe for concurrent use.
type Client struct {
	cfg             Config
	routes          *routes
	direct, proxied *http.Client
	slots           chan struct{}
	credential      *holder

	prepare  sync.Mutex // held while the routes are being found out
	prepared bool       // guarded by prepare
	failedAt time.Time  // guarded by prepare: of the last try
	failure  error      // guarded by prepare: of the last try

	counters struct{ requests, bytes, failures, hostSwitches, proxySwitches, active atomic.Int64 }
	mu       sync.Mutex
	last     Failure   // guarded by mu
	down     time.Time // guarded by mu: the first failure since something last worked; zero if the network works
}

// New checks the configuration; nothing is connected before the first Fetch.
func New(cfg Config) (*Client, error) {
	cfg.defaults()
	c := &Client{cfg: cfg, slots: make(chan struct{}, cfg.Concurrency), credential: &holder{}}
	var err error
	known := &names{}
	if c.routes, err = newRoutes(cfg, known); err != nil {
		return nil, err
	}
	if c.direct, c.proxied, err = newHTTPClients(cfg, c.credential, known); err != nil {
		return nil, err
	}
	return c, nil
}

// Close closes idle connections. Transfers go on.
func (c *Client) Close() {
	c.direct.CloseIdleConnections()
	c.proxied.CloseIdleConnections()
}

// smallFile is how much of a file that is no object is read before Fetch returns it.
const smallFile = 1 << 20

// immutable says that a file's bytes never change under its name, or are verified by a hash that the caller knows: then the
// rest of it may be taken from another host. The signed heads of a repository, ".cvmfspublished" and its like, are neither.
func immutable(name string) bool {
	name = strings.TrimPrefix(name, "/")
	return !strings.HasPrefix(name, ".cvmfs") || strings.HasPrefix(name, ".cvmfsalt-")
}

// Fetch opens a file of the repository; see cas.Fetcher. The body of an object implements cas.Body.
func (c *Client) Fetch(ctx context.Context, r cas.Request) (io.ReadCloser, error) {
	if r.Offset < 0 || r.Length < 0 {
		return nil, fmt.Errorf("fetch %s: range %d+%d is not one", r.Name, r.Offset, r.Length)
	}
	if err := c.findRoutes(ctx); err != nil {
		return nil, fmt.Errorf("fetch %s: %w; name proxies: in the configuration, or DIRECT", r.Name, err)
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("fetch %s: %w", r.Name, context.Cause(ctx))
	}
	c.counters.active.Add(1)
	t := &transfer{c: c, ctx: ctx, r: r}
	t.begin()
	body, err := t.open()
	if err != nil {
		c.release()
		return nil, err
	}
	return body, nil
}

// findRoutesAgain is how long auto-configuration that failed is not tried again.
const findRoutesAgain = 10 * time.Second

// findRoutes does before the first fetch what needs the network: proxy auto-configuration and the order of the hosts.
func (c *Client) findRoutes(ctx context.Context) error {
	c.prepare.Lock()
	defer c.prepare.Unlock()
	if c.prepared {
		return nil
	}
	if c.failure != nil && time.Since(c.failedAt) < findRoutesAgain {
		return c.failure
	}
	ctx = context.WithoutCancel(ctx) // others wait for it
	if hasAuto(c.cfg.Proxies) {
		if c.failure = c.autoProxies(ctx); c.failure != nil {
			c.failedAt = time.Now()
			return c.failure
		}
	}
	c.sortHosts(ctx)
	c.prepared = true
	return nil
}

// autoProxies fills in what "auto" in the chain stands for. If that cannot be found out, the other groups have to do.
func (c *Client) autoProxies(ctx context.Context) error {
	found, err := c.discover(ctx)
	if err != nil {
		c.cfg.Log.Warn("no proxies found", "err", err)
	}
	chain, perr := parseProxies(replaceAuto(c.cfg.Proxies, found), c.cfg.FallbackProxies)
	if perr != nil || err != nil && strings.Trim(replaceAuto(c.cfg.Proxies, "")+c.cfg.FallbackProxies, "; ") == "" {
		return errors.Join(err, perr)
	}
	c.routes.setChain(chain)
	return nil
}

func (c *Client) release() {
	c.counters.active.Add(-1)
	<-c.slots
}

// worked notes that a host answered.
func (c *Client) worked() {
	c.mu.Lock()
	c.down = time.Time{}
	c.mu.Unlock()
}

// failed notes a failure for Status, and the beginning of an outage.
func (c *Client) failed(name string, f *failure) {
	c.counters.failures.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.last = Failure{now, name, f.route.host.name, f.route.proxy.name, f.err.Error()}
	if c.down.IsZero() && f.down {
		c.down = now
	}
}

// sleep waits, but not for one who has left.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var errDeadline = errors.New("deadline passed")
