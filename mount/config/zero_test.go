package config

import "testing"

// An explicit zero must not come out as the fetcher's default, which zero means there.
func TestExplicitZeros(t *testing.T) {
	c, _ := load(t, map[string]string{"etc/flatrun/config.yaml": `
network: {patience: 0, backoff_init: 0, backoff_max: 0s, low_speed_limit: 0, max_retries: 0, proxy_reset: 0, host_reset: 0}
cache: {shared: yes, lower: [/a, /b.flatrun]}
repositories:
  a.example.org: {servers: "http://s/@fqrn@", public_keys: /etc/passwd}
`}, nil)
	r, err := c.Repository("a.example.org")
	if err != nil {
		t.Fatal(err)
	}
	n := r.Network
	if n.Patience == 0 || n.BackoffInit == 0 || n.BackoffMax == 0 || n.LowSpeedLimit >= 0 || n.MaxRetries >= 0 || n.ProxyReset == 0 || n.HostReset == 0 {
		t.Errorf("%+v", n)
	}
	if !c.Cache.Shared || len(c.Cache.Lower) != 2 || c.Cache.Lower[1] != "/b.flatrun" {
		t.Errorf("%+v", c.Cache)
	}
}
