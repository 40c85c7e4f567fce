package fetch

import "time"

// Status is what a Client uses and has done.
type Status struct {
	Host  string   // in use
	Proxy string   // in use; "DIRECT" for none
	Hosts []string // in order of preference
	// Proxies are the members of the groups, as configured.
	Proxies [][]string

	Requests      int64 // sent
	Bytes         int64 // of answers, handed on
	Failures      int64 // attempts that failed
	HostSwitches  int64
	ProxySwitches int64
	Active        int64 // transfers now

	Last  Failure   // zero if nothing failed yet
	Since time.Time // when the network stopped working; zero if it works
}

// Failure is an attempt that went wrong.
type Failure struct {
	Time  time.Time
	Name  string // of the file
	Host  string
	Proxy string // "" for none
	Err   string
}

// Status returns a snapshot, without asking the network.
func (c *Client) Status() Status {
	s := Status{
		Requests: c.counters.requests.Load(), Bytes: c.counters.bytes.Load(), Failures: c.counters.failures.Load(),
		HostSwitches: c.counters.hostSwitches.Load(), ProxySwitches: c.counters.proxySwitches.Load(),
		Active: c.counters.active.Load(),
	}
	c.mu.Lock()
	s.Last, s.Since = c.last, c.down
	c.mu.Unlock()
	c.routes.status(&s)
	return s
}

func (r *routes) status(s *Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Host, s.Proxy = r.hosts[r.host].name, r.members[0].label()
	for _, h := range r.hosts {
		s.Hosts = append(s.Hosts, h.name)
	}
	for _, group := range r.chain {
		var names []string
		for _, p := range group {
			names = append(names, p.label())
		}
		s.Proxies = append(s.Proxies, names)
	}
}

func (p proxy) label() string {
	if p.url == nil {
		return directProxy
	}
	return p.name
}
