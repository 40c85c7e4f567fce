package fetch

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// resolveAfter is how long the addresses of a proxy's name are used: the official client's shortest.
const resolveAfter = time.Minute

// host is a server of the repository.
type host struct {
	name string // host:port for messages
	base string // URL without a trailing slash
	file string // directory, for file URLs
}

// route is the way that one attempt takes.
type route struct {
	host  host
	proxy proxy
}

func (r route) direct() bool { return r.proxy.url == nil }

// routes chooses the host and the proxy in use, which all transfers share.
type routes struct {
	cfg    Config
	now    func() time.Time
	lookup func(ctx context.Context, name string) ([]string, error)
	names  *names

	mu        sync.Mutex
	hosts     []host
	host      int
	hostLeft  time.Time // when the first host was left
	chain     [][]proxy // as configured
	group     int       // index in chain
	members   []proxy   // of the group, in random order; the first is in use (unless sharded), those that failed are gone
	whole     int       // how many members there were
	resolved  time.Time // when members' names were looked up; zero: not yet
	proxyLeft time.Time // when the first choice of the first group was left
}

func newRoutes(cfg Config, known *names) (*routes, error) {
	r := &routes{cfg: cfg, now: time.Now, lookup: net.DefaultResolver.LookupHost, names: known}
	for _, s := range cfg.Servers {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		h, err := parseHost(s)
		if err != nil {
			return nil, err
		}
		r.hosts = append(r.hosts, h)
	}
	if len(r.hosts) == 0 {
		return nil, errors.New("no server is given; set servers: in the configuration")
	}
	if !cfg.GeoAPI {
		r.limitHosts()
	}
	var err error
	proxies := cfg.Proxies
	if hasAuto(proxies) { // the rest, until the first fetch finds out
		proxies = strings.Trim(replaceAuto(proxies, ""), "; ")
	}
	if r.chain, err = parseProxies(proxies, cfg.FallbackProxies); err != nil {
		return nil, err
	}
	r.enterGroup(0)
	return r, nil
}

func (r *routes) setChain(chain [][]proxy) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.chain, r.proxyLeft = chain, time.Time{}
	r.enterGroup(0)
}

func parseHost(s string) (host, error) {
	u, err := url.Parse(s)
	if err != nil {
		return host{}, fmt.Errorf("server %q: %w", s, err)
	}
	switch {
	case u.Scheme == "file" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		return host{name: s, file: u.Path}, nil
	case (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && goodPort(u):
		u.RawQuery, u.Fragment = "", ""
		return host{name: u.Host, base: strings.TrimRight(u.String(), "/")}, nil
	}
	return host{}, fmt.Errorf("server %q is not a URL; write http://HOST/cvmfs/@fqrn@ under servers: in the configuration", s)
}

func (r *routes) limitHosts() {
	if n := r.cfg.MaxServers; n > 0 && n < len(r.hosts) {
		r.hosts = r.hosts[:n]
	}
}

func (r *routes) enterGroup(i int) {
	r.group = i
	r.members = append([]proxy(nil), r.chain[i]...)
	r.whole = len(r.members)
	r.resolved = time.Time{}
	shuffle(r.members)
}

func shuffle(p []proxy) { rand.Shuffle(len(p), func(i, j int) { p[i], p[j] = p[j], p[i] }) }

// current returns the host and proxy to use now for the file of that name, "" for none in particular. Those that were left
// some time ago get another chance.
func (r *routes) current(ctx context.Context, file string) route {
	r.resolve(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if !r.hostLeft.IsZero() && now.Sub(r.hostLeft) > r.cfg.HostReset {
		r.host, r.hostLeft = 0, time.Time{}
	}
	if !r.proxyLeft.IsZero() && now.Sub(r.proxyLeft) > r.cfg.ProxyReset {
		r.resetProxies()
	}
	h := r.hosts[r.host]
	if h.file != "" {
		return route{host: h}
	}
	if r.cfg.ShardProxies && file != "" {
		return route{h, shard(r.members, file)}
	}
	return route{h, r.members[0]}
}

// shard chooses the proxy with the highest hash of its name and the file's: when a proxy is gone, only its files move.
func shard(members []proxy, file string) proxy {
	var best proxy
	var most uint64
	for i, p := range members {
		h := fnv.New64a()
		h.Write([]byte(p.name + "\x00" + file))
		sum := h.Sum64()
		sum ^= sum >> 32 // the last byte written reaches the upper half of the sum only weakly
		sum *= 0x9e3779b97f4a7c15
		if i == 0 || sum > most {
			best, most = p, sum
		}
	}
	return best
}

func (r *routes) resetProxies() {
	r.enterGroup(0)
	r.proxyLeft = time.Time{}
}

// leaveHost turns from a host that failed to the next one, unless another transfer has done so. It reports whether it did.
func (r *routes) leaveHost(from route) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hosts[r.host] != from.host || len(r.hosts) == 1 {
		return false
	}
	if r.host == 0 {
		r.hostLeft = r.now()
	}
	r.host = (r.host + 1) % len(r.hosts)
	if r.host == 0 {
		r.hostLeft = time.Time{}
	}
	return true
}

// leaveProxy turns from a proxy that failed to another of its group, then to the next group, and around. It reports whether
// another one is in use now because of that.
func (r *routes) leaveProxy(from route) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := slices.IndexFunc(r.members, func(p proxy) bool { return p.name == from.proxy.name })
	if at < 0 || at > 0 && !r.cfg.ShardProxies {
		return false
	}
	if r.proxyLeft.IsZero() {
		r.proxyLeft = r.now()
	}
	if len(r.members) > 1 {
		r.members = slices.Delete(r.members, at, at+1)
	} else {
		r.enterGroup((r.group + 1) % len(r.chain))
	}
	return r.cfg.ShardProxies || r.members[0].name != from.proxy.name
}

// firstProxy goes back to the first group, for a host that has not been tried through it.
func (r *routes) firstProxy() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.proxyLeft.IsZero() {
		r.resetProxies()
	}
}

// size returns the numbers of hosts and of proxies that there are to try.
func (r *routes) size() (hosts, proxies int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, g := range r.chain {
		if i != r.group {
			proxies += len(g)
		}
	}
	return len(r.hosts), proxies + r.whole
}

// resolve replaces names in the current group by their addresses, and from time to time again. A name that cannot be
// resolved stays, and its use will tell why.
func (r *routes) resolve(ctx context.Context) {
	r.mu.Lock()
	group, now := r.group, r.now()
	fresh := !r.resolved.IsZero() && now.Sub(r.resolved) < resolveAfter
	// While some members are burned the rest stays as it is.
	if fresh || !r.resolved.IsZero() && !r.proxyLeft.IsZero() {
		r.mu.Unlock()
		return
	}
	r.resolved = now // others go on with what there is
	r.mu.Unlock()

	members, changed := r.expandGroup(ctx, r.chain[group])
	if !changed {
		return
	}
	shuffle(members)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.group == group && !sameProxies(r.members, members) {
		r.members, r.whole = members, len(members)
	}
}

// expandGroup looks up the names in a group; changed is false if there are none.
func (r *routes) expandGroup(ctx context.Context, group []proxy) (members []proxy, changed bool) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	for _, p := range group {
		if p.url == nil || net.ParseIP(p.url.Hostname()) != nil {
			members = append(members, p)
			continue
		}
		addrs := r.addresses(ctx, p.url.Hostname())
		members = append(members, p.expand(preferred(addrs, r.cfg.IPFamily))...)
		changed = true
	}
	return members, changed
}

// addresses looks up a name. While that fails, it has those that it had.
func (r *routes) addresses(ctx context.Context, name string) []string {
	addrs, err := r.lookup(ctx, name)
	if err != nil {
		r.names.lost(name)
		addrs, _ = r.names.last(name)
		return addrs
	}
	r.names.found(name, addrs)
	return addrs
}

// preferred keeps the addresses of the preferred family, or all if there are none of it.
func preferred(addrs []string, family int) (kept []string) {
	for _, a := range addrs {
		v4 := net.ParseIP(a).To4() != nil
		if family != 4 && family != 6 || v4 == (family == 4) {
			kept = append(kept, a)
		}
	}
	if len(kept) == 0 {
		return addrs
	}
	return kept
}

// sameProxies compares sets.
func sameProxies(a, b []proxy) bool {
	if len(a) != len(b) {
		return false
	}
	names := make(map[string]bool, len(a))
	for _, p := range a {
		names[p.name] = true
	}
	for _, p := range b {
		if !names[p.name] {
			return false
		}
	}
	return true
}
