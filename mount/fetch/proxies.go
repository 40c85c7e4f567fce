package fetch

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// proxy is one way to the hosts: through a proxy, or directly.
type proxy struct {
	name string   // host:port for messages; "" for direct
	url  *url.URL // nil for direct
}

const directProxy = "DIRECT"

// parseProxies reads the official client's proxy chain: groups in order of preference, each a set of equals. The fallback's
// groups come last, and their presence removes DIRECT from the others.
func parseProxies(chain, fallback string) ([][]proxy, error) {
	groups, err := parseChain(chain, strings.TrimSpace(fallback) == "")
	if err != nil {
		return nil, err
	}
	more, err := parseChain(fallback, true)
	if err != nil {
		return nil, err
	}
	groups = append(groups, more...)
	if len(groups) == 0 {
		if strings.TrimSpace(chain+fallback) != "" {
			return nil, fmt.Errorf("proxies %q: there is none in it; write DIRECT for no proxy", chain)
		}
		groups = [][]proxy{{{}}}
	}
	return groups, nil
}

func parseChain(chain string, direct bool) (groups [][]proxy, err error) {
	for text := range strings.SplitSeq(chain, ";") {
		var group []proxy
		for member := range strings.SplitSeq(text, "|") {
			member = strings.TrimSpace(member)
			switch {
			case member == "":
			case strings.EqualFold(member, directProxy):
				if direct {
					group = append(group, proxy{})
				}
			default:
				p, err := parseProxy(member)
				if err != nil {
					return nil, err
				}
				group = append(group, p)
			}
		}
		if len(group) > 0 {
			groups = append(groups, group)
		}
	}
	return groups, nil
}

func parseProxy(s string) (proxy, error) {
	full := s
	if !strings.Contains(s, "://") {
		full = "http://" + s
	}
	u, err := url.Parse(full)
	if err != nil || u.Hostname() == "" || strings.ContainsAny(u.Host, " \t,") || !goodPort(u) {
		return proxy{}, fmt.Errorf("proxies: %q is not a proxy; write http://HOST:PORT or DIRECT", s)
	}
	switch u.Scheme {
	case "http", "https":
	default:
		return proxy{}, fmt.Errorf("proxies: %q: scheme %q is not supported; use http or https", s, u.Scheme)
	}
	if u.Port() == "" && u.Scheme == "http" {
		u.Host = net.JoinHostPort(u.Hostname(), "1080") // the official client's default, by way of libcurl
	}
	return proxy{u.Host, &url.URL{Scheme: u.Scheme, User: u.User, Host: u.Host}}, nil
}

// goodPort says that a URL has a port that there can be, or none.
func goodPort(u *url.URL) bool {
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	return u.Port() == "" || err == nil && n > 0
}

// expand makes one proxy of each address of p, so that load and failures are told apart. Proxies that speak TLS keep their
// names, which their certificates are for.
func (p proxy) expand(addrs []string) []proxy {
	if len(addrs) < 2 || p.url == nil || p.url.Scheme != "http" {
		return []proxy{p}
	}
	var all []proxy
	for _, a := range addrs {
		u := *p.url
		u.Host = net.JoinHostPort(a, p.url.Port())
		all = append(all, proxy{u.Host, &u})
	}
	return all
}
