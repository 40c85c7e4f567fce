package fetch

import (
	"slices"
	"sync"
	"time"
)

// names remembers where names of hosts and proxies led: a site whose name server is down still has its proxies. The zero
// value knows none.
type names struct {
	mu    sync.Mutex
	known map[string]*knownName
}

// knownName is where a name led.
type knownName struct {
	addrs   []string  // IP addresses, those to try first in front
	missing time.Time // when it could not be resolved; zero where the last time it could
}

const (
	// unresolvedFor is how long the addresses that are known come first once the name could not be resolved: to ask a name
	// server that does not answer takes seconds.
	unresolvedFor = time.Minute
	maxKnown      = 8 // addresses of a name that came one by one
)

// last answers where the name led, and whether it could not be resolved a short while ago.
func (n *names) last(name string) (addrs []string, missing bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.known[name]
	if k == nil {
		return nil, false
	}
	return slices.Clone(k.addrs), !k.missing.IsZero() && time.Since(k.missing) < unresolvedFor
}

// found notes all addresses that the name has now.
func (n *names) found(name string, addrs []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.of(name)
	k.addrs, k.missing = slices.Clone(addrs), time.Time{}
}

// led notes one address to which the name led, among others perhaps.
func (n *names) led(name, addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.of(name)
	k.missing = time.Time{}
	others := slices.DeleteFunc(k.addrs, func(a string) bool { return a == addr })
	k.addrs = append([]string{addr}, others[:min(len(others), maxKnown-1)]...)
}

// lost notes that the name could not be resolved.
func (n *names) lost(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.of(name).missing = time.Now()
}

// of is called with the lock.
func (n *names) of(name string) *knownName {
	k := n.known[name]
	if k == nil {
		k = &knownName{}
		if n.known == nil {
			n.known = map[string]*knownName{}
		}
		n.known[name] = k
	}
	return k
}
