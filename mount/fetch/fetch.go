// Package fetch gets files of a repository over HTTP: hosts, proxies, retries, deadlines.
package fetch

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
)

// Config says where a repository is served and how patient to be. The zero value of every field but Servers is usable.
type Config struct {
	Servers                  []string
	Proxies, FallbackProxies string
	Timeout, TimeoutDirect   time.Duration
	MaxRetries               int
	BackoffInit, BackoffMax  time.Duration
	LowSpeedLimit            int64
	ProxyReset, HostReset    time.Duration
	FollowRedirects          bool
	MaxServers               int
	CABundle                 string
	IPFamily                 int
	UserAgent                string
	Deadline                 time.Duration
	GeoAPI                   bool
	Log                      *slog.Logger
}

// Client is a cas.Fetcher.
type Client struct{ cfg Config }

// Status is what a client is doing.
type Status struct {
	Host, Proxy string
	LastError   string
}

func New(cfg Config) (*Client, error) { return &Client{cfg}, nil }
func (c *Client) Fetch(ctx context.Context, r cas.Request) (io.ReadCloser, error) {
	return nil, io.EOF
}
func (c *Client) Status() Status { return Status{} }
