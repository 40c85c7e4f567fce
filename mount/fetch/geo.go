package fetch

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
)

// geoAsk is how many hosts are asked for the order before it is left as it is.
const geoAsk = 3

// sortHosts puts the nearest host first, if that is wanted. Any host can tell the order; it is advice, so what does not work
// changes nothing.
func (c *Client) sortHosts(ctx context.Context) {
	if !c.cfg.GeoAPI {
		return
	}
	c.routes.mu.Lock()
	hosts := c.routes.hosts
	c.routes.mu.Unlock()
	for n, i := range rand.Perm(len(hosts)) {
		if n == geoAsk || len(hosts) == 1 {
			break
		}
		order, err := c.askOrder(ctx, hosts[i], hosts)
		if err == nil {
			sorted := make([]host, len(hosts))
			for k, from := range order {
				sorted[k] = hosts[from]
			}
			c.routes.setHosts(sorted)
			return
		}
		c.cfg.Log.Warn("host does not tell which one is near", "host", hosts[i].name, "err", err)
	}
	c.routes.setHosts(hosts)
}

func (r *routes) setHosts(hosts []host) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hosts, r.host, r.hostLeft = hosts, 0, time.Time{}
	r.limitHosts()
}

// askOrder asks one host; the answer is a permutation of the indexes of hosts.
func (c *Client) askOrder(ctx context.Context, from host, hosts []host) ([]int, error) {
	rt := c.routes.current(ctx, "")
	rt.host = from
	if from.file != "" {
		return nil, fmt.Errorf("it is a directory")
	}
	var names []string
	for _, h := range hosts {
		name, _, err := net.SplitHostPort(h.name)
		if err != nil {
			name = h.name
		}
		names = append(names, name)
	}
	name := "api/v1.0/geo/" + c.geoName(rt) + "/" + strings.Join(names, ",")
	s, f := c.attempt(ctx, rt, cas.Request{Name: name}, 0, time.Now().Add(c.cfg.TimeoutDirect))
	if f != nil {
		return nil, f.err
	}
	defer s.Close()
	text, err := io.ReadAll(io.LimitReader(s, 4<<10))
	if err != nil {
		return nil, err
	}
	return parseOrder(string(text), len(hosts))
}

// geoName is the name whose distance counts: that of the proxy, or one that nobody else has, for which the server takes the
// address that the question came from.
func (c *Client) geoName(rt route) string {
	switch {
	case c.cfg.GeoProxy != "":
		return url.PathEscape(c.cfg.GeoProxy)
	case rt.proxy.url != nil:
		return rt.proxy.url.Hostname()
	}
	return fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64())
}

// parseOrder reads a list of all numbers from 1 to n, and returns them less one.
func parseOrder(s string, n int) ([]int, error) {
	seen := make([]bool, n)
	var order []int
	for field := range strings.SplitSeq(strings.TrimSpace(s), ",") {
		k, err := strconv.Atoi(field)
		if err != nil || k < 1 || k > n || seen[k-1] {
			return nil, fmt.Errorf("order %q is not a permutation of 1 to %d", s, n)
		}
		seen[k-1] = true
		order = append(order, k-1)
	}
	if len(order) != n {
		return nil, fmt.Errorf("order %q is not a permutation of 1 to %d", s, n)
	}
	return order, nil
}
