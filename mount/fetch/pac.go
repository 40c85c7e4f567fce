package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/dop251/goja"
)

const (
	autoProxy  = "auto"
	defaultPAC = "http://wpad/wpad.dat"
	maxPAC     = 1 << 20 // bytes of a script
	pacTime    = 5 * time.Second
)

// hasAuto says that a chain asks for auto-configuration.
func hasAuto(chain string) bool {
	return replaceAuto(chain, "") != chain
}

// replaceAuto puts the groups that auto-configuration has found where the chain has the word. An answer is a chain itself, so
// a group with the word in it gives way to it whole.
func replaceAuto(chain, found string) string {
	groups := strings.Split(chain, ";")
	for i, g := range groups {
		for m := range strings.SplitSeq(g, "|") {
			if strings.TrimSpace(m) == autoProxy {
				groups[i] = found
			}
		}
	}
	return strings.Join(groups, ";")
}

// discover asks the site's auto-configuration scripts, the first one that can be had, which proxies lead to the hosts.
func (c *Client) discover(ctx context.Context) (string, error) {
	urls := c.cfg.PACURLs
	if len(urls) == 0 {
		urls = []string{defaultPAC}
	}
	var errs []error
	for _, u := range urls {
		script, err := c.loadPAC(ctx, u)
		var found string
		if err == nil {
			found, err = findProxies(ctx, script, c.routes.current(ctx, "").host.base)
		}
		if err == nil {
			return found, nil
		}
		errs = append(errs, fmt.Errorf("proxy auto-configuration %s: %w", u, plain(err)))
	}
	return "", errors.Join(errs...)
}

// loadPAC gets a script, without a proxy, as there is none yet.
func (c *Client) loadPAC(ctx context.Context, from string) (string, error) {
	if path, ok := strings.CutPrefix(from, "file://"); ok {
		script, err := os.ReadFile(path)
		return string(script), err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.TimeoutDirect)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	resp, err := c.direct.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", statusError(resp.StatusCode)
	}
	script, err := io.ReadAll(io.LimitReader(resp.Body, maxPAC+1))
	if len(script) > maxPAC {
		err = fmt.Errorf("the script is longer than %d bytes", maxPAC)
	}
	return string(script), err
}

// findProxies runs a script's FindProxyForURL for a host, and returns what it finds as a chain. The script comes from the
// network: it has the functions that such scripts are entitled to and nothing else, and is stopped after a while.
func findProxies(ctx context.Context, script, server string) (string, error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, pacTime)
	defer cancel()
	vm := goja.New()
	vm.SetMaxCallStackSize(1000)
	stop := context.AfterFunc(ctx, func() { vm.Interrupt("it runs for too long") })
	defer stop()
	if err := definePAC(ctx, vm, time.Now); err != nil {
		return "", err
	}
	if _, err := vm.RunString(script); err != nil {
		return "", fmt.Errorf("the script fails: %w", err)
	}
	find, ok := goja.AssertFunction(vm.Get("FindProxyForURL"))
	if !ok {
		return "", errors.New("the script has no function FindProxyForURL")
	}
	v, err := find(goja.Undefined(), vm.ToValue(server), vm.ToValue(u.Hostname()))
	if err != nil {
		return "", fmt.Errorf("the script fails: %w", err)
	}
	return parseFound(v.String())
}

// parseFound turns "PROXY a:3128; PROXY b:3128; DIRECT" into a chain.
func parseFound(s string) (string, error) {
	var groups []string
	for entry := range strings.SplitSeq(s, ";") {
		switch f := strings.Fields(entry); {
		case len(f) == 1 && strings.EqualFold(f[0], directProxy):
			groups = append(groups, directProxy)
		case len(f) == 2 && (strings.EqualFold(f[0], "PROXY") || strings.EqualFold(f[0], "HTTP")):
			groups = append(groups, "http://"+f[1])
		case len(f) == 2 && strings.EqualFold(f[0], "HTTPS"):
			groups = append(groups, "https://"+f[1])
		} // SOCKS and what else there may be is not for us
	}
	chain := strings.Join(groups, ";")
	if len(groups) == 0 {
		return "", fmt.Errorf("no HTTP proxy in the answer %q", s)
	}
	if hasAuto(chain) || strings.Contains(chain, "|") {
		return "", fmt.Errorf("the answer %q is no list of proxies", s)
	}
	if _, err := parseChain(chain, true); err != nil {
		return "", fmt.Errorf("answer %q: %w", s, err)
	}
	return chain, nil
}
