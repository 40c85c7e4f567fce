package fetch

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"
)

// maxRedirects is the official client's.
const maxRedirects = 4

// routeKey is the context key of an attempt's route, by which the proxy of a request is known.
type routeKey struct{}

// newHTTPClients makes one client for each of the two time-outs, as they belong to the connections.
func newHTTPClients(cfg Config, own *holder, known *names) (direct, proxied *http.Client, err error) {
	roots, err := loadRoots(cfg.CABundle)
	if err != nil {
		return nil, nil, err
	}
	direct = newHTTPClient(cfg, roots, own, known, cfg.TimeoutDirect)
	proxied = newHTTPClient(cfg, roots, own, known, cfg.Timeout)
	return direct, proxied, nil
}

func loadRoots(bundle string) (*x509.CertPool, error) {
	if bundle == "" {
		return nil, nil // the system's, loaded when first needed
	}
	pem, err := os.ReadFile(bundle)
	if err != nil {
		return nil, fmt.Errorf("certificate bundle: %w; check ca_bundle: in the configuration", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificate bundle %s: no PEM certificate in it; check ca_bundle: in the configuration", bundle)
	}
	return roots, nil
}

func newHTTPClient(cfg Config, roots *x509.CertPool, own *holder, known *names, timeout time.Duration) *http.Client {
	d := newDialer(timeout, cfg.IPFamily, known)
	t := &http.Transport{
		Proxy: func(r *http.Request) (*url.URL, error) {
			rt, _ := r.Context().Value(routeKey{}).(route)
			return rt.proxy.url, nil
		},
		DialContext:           d.dial,
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, GetClientCertificate: own.certificate},
		TLSHandshakeTimeout:   timeout,
		ResponseHeaderTimeout: timeout,
		MaxIdleConnsPerHost:   cfg.Concurrency, // the next burst of fetches finds the connections of the last one
		IdleConnTimeout:       90 * time.Second,
		DisableCompression:    true, // objects are hashed as they are stored
		ForceAttemptHTTP2:     true,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: timeout, PingTimeout: timeout},
		ReadBufferSize:        32 << 10,
	}
	check := func(r *http.Request, via []*http.Request) error {
		if !cfg.FollowRedirects {
			return http.ErrUseLastResponse
		}
		if len(via) > maxRedirects {
			return errors.New("too many redirects")
		}
		return nil
	}
	return &http.Client{Transport: t, CheckRedirect: check}
}
