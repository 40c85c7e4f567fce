package session

import (
	"cmp"
	"log/slog"

	"github.com/flatrun/flatrun/mount/config"
	"github.com/flatrun/flatrun/mount/fetch"
)

// fetchConfig is what the settings say about the network.
func fetchConfig(s *config.Repository, log *slog.Logger) fetch.Config {
	n := s.Network
	return fetch.Config{
		Servers: s.Servers, MaxServers: n.MaxServers,
		Proxies: n.Proxies, FallbackProxies: n.FallbackProxies, ShardProxies: n.ShardProxies, GeoAPI: n.GeoAPI, GeoProxy: n.GeoProxy, PACURLs: n.PACURLs,
		Timeout: n.Timeout, TimeoutDirect: n.TimeoutDirect, LowSpeedLimit: n.LowSpeedLimit, Deadline: n.Deadline, Patience: n.Patience,
		MaxRetries: n.MaxRetries, BackoffInit: n.BackoffInit, BackoffMax: n.BackoffMax, ProxyReset: n.ProxyReset, HostReset: n.HostReset,
		FollowRedirects: n.FollowRedirects, CABundle: n.CABundle, IPFamily: n.IPFamily, Concurrency: n.Concurrency,
		Log: log,
	}
}

// externalConfig is the same for external data, which has servers, proxies and patience of its own.
func externalConfig(s *config.Repository, log *slog.Logger) fetch.Config {
	c := fetchConfig(s, log)
	c.Servers, c.MaxServers = s.ExternalServers, cmp.Or(s.ExternalMaxServers, c.MaxServers)
	c.Proxies, c.FallbackProxies = s.ExternalProxies, s.ExternalFallbackProxies
	c.Timeout = cmp.Or(s.ExternalTimeout, c.Timeout)
	c.TimeoutDirect = cmp.Or(s.ExternalTimeoutDirect, c.TimeoutDirect)
	c.GeoAPI = false
	return c
}
