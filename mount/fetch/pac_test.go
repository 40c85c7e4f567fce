package fetch

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dop251/goja"

	"github.com/flatrun/flatrun/mount/cas"
)

func TestFindProxies(t *testing.T) {
	const server = "http://s1.example.org:8000/cvmfs/a.example.org"
	for _, tc := range []struct{ script, want string }{
		{`function FindProxyForURL(url, host) { return "PROXY a:3128; PROXY b:3128; DIRECT"; }`, "http://a:3128;http://b:3128;DIRECT"},
		{`function FindProxyForURL(url, host) { return "direct" }`, "DIRECT"},
		{`function FindProxyForURL(url, host) { return "SOCKS s:1; HTTPS t:443; http u:80" }`, "https://t:443;http://u:80"},
		{`function FindProxyForURL(url, host) { return "PROXY " + host + ":" + url.length }`, "http://s1.example.org:46"},
		{`function FindProxyForURL(url, host) { if (shExpMatch(url, "http://*.example.org:*/cvmfs/?.*")) return "PROXY yes:1"; return "PROXY no:1" }`, "http://yes:1"},
		{`function FindProxyForURL(url, host) { return null }`, ""},
		{`function FindProxyForURL(url, host) { return "" }`, ""},
		{`function FindProxyForURL(url, host) { return "SOCKS s:1" }`, ""},
		{`function FindProxyForURL(url, host) { return "PROXY a|b:1" }`, ""},
		{`function FindProxyForURL(url, host) { return "PROXY auto" }`, "http://auto"},
		{`function FindProxyForURL(url, host) { throw "no" }`, ""},
		{`function FindProxyForURL(url, host) { return FindProxyForURL(url, host) }`, ""},
		{`function other() {}`, ""},
		{`not a script`, ""},
		{``, ""},
	} {
		got, err := findProxies(t.Context(), tc.script, server)
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%s: %q, error %v, want %q", tc.script, got, err, tc.want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := findProxies(ctx, "for (;;) {}", server); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("endless script: error %v", err)
	}
}

func TestPACFunctions(t *testing.T) {
	vm := goja.New()
	// A Wednesday.
	at := time.Date(2026, time.November, 25, 23, 30, 10, 0, time.FixedZone("X", 3600))
	if err := definePAC(t.Context(), vm, func() time.Time { return at }); err != nil {
		t.Fatal(err)
	}
	for expr, want := range map[string]bool{
		`isPlainHostName("www")`: true, `isPlainHostName("www.x.org")`: false,
		`dnsDomainIs("www.X.org", ".x.org")`: true, `dnsDomainIs("www.x.org", ".y.org")`: false,
		`localHostOrDomainIs("www", "www.x.org")`: true, `localHostOrDomainIs("www.x.org", "www.x.org")`: true,
		`localHostOrDomainIs("w", "www.x.org")`: false, `localHostOrDomainIs("www.y.org", "www.x.org")`: false,
		`dnsDomainLevels("a.b.c") == 2`: true,
		`shExpMatch("a/b/c", "a*c")`:    true, `shExpMatch("abc", "a?c")`: true, `shExpMatch("abc", "b*")`: false, `shExpMatch("a[b", "a[b")`: true,
		`isResolvable("127.0.0.1")`: true, `isResolvable("` + noName + `")`: false,
		`dnsResolve("10.1.2.3") == "10.1.2.3"`: true, `dnsResolve("` + noName + `") == null`: true,
		`isInNet("10.1.2.3", "10.1.0.0", "255.255.0.0")`: true, `isInNet("10.2.2.3", "10.1.0.0", "255.255.0.0")`: false,
		`isInNet("` + noName + `", "10.1.0.0", "255.255.0.0")`: false, `isInNet("10.1.2.3", "x", "y")`: false,
		`myIpAddress().split(".").length == 4`: true,
		`weekdayRange("WED")`:                  true, `weekdayRange("MON", "FRI")`: true, `weekdayRange("FRI", "MON")`: false, `weekdayRange("SAT", "WED", "GMT")`: true,
		`weekdayRange("XXX")`: false, `weekdayRange()`: false, `weekdayRange("UNM")`: false,
		`timeRange(23)`: true, `timeRange(23, "GMT")`: false, `timeRange(22, "GMT")`: true, `timeRange(8, 18)`: false, `timeRange(22, 6)`: true,
		`timeRange(23, 0, 23, 29)`: false, `timeRange(23, 30, 23, 40)`: true, `timeRange(23, 30, 11, 23, 40, 0)`: false,
		`timeRange("x")`: false, `timeRange(1, 2, 3)`: false, `timeRange()`: false,
		`dateRange(25)`: true, `dateRange("NOV")`: true, `dateRange(2026)`: true, `dateRange(2025)`: false,
		`dateRange(20, 30)`: true, `dateRange("DEC", "JAN")`: false, `dateRange("OCT", "JAN")`: true, `dateRange(2020, 2030)`: true,
		`dateRange(1, "NOV", 30, "NOV")`: true, `dateRange(1, "JAN", 2027, 31, "DEC", 2027)`: false, `dateRange("NOV", 2026, "DEC", 2026, "GMT")`: true,
		`dateRange(1, "NOV")`: false, `dateRange()`: false, `dateRange("x")`: false, `dateRange(1, 1, 2, 2)`: false,
	} {
		v, err := vm.RunString(expr)
		if err != nil || v.ToBoolean() != want {
			t.Errorf("%s: %v, error %v", expr, v, err)
		}
	}
}

func TestAuto(t *testing.T) {
	content := noise(1000)
	origin, p := newSite(t, content, nil), newForwarder(t, nil)
	script := `function FindProxyForURL(url, host) { return "PROXY ` + strings.TrimPrefix(p.URL, "http://") + `" }`
	pac := newSite(t, []byte(script), nil)
	file := filepath.Join(t.TempDir(), "proxy.pac")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := newSite(t, nil, status(404))
	for name, urls := range map[string][]string{
		"http": {pac.URL}, "file": {"file://" + file}, "second": {deadURL(t), missing.URL, "file:///absent", "x:y", pac.URL},
	} {
		before := p.count()
		c := newClient(t, Config{Servers: []string{origin.URL}, Proxies: "auto", PACURLs: urls})
		wantContent(t, c, cas.Request{Name: object}, content)
		wantContent(t, c, cas.Request{Name: head}, content)
		if n := p.count() - before; n != 2 {
			t.Errorf("%s: %d requests through the proxy", name, n)
		}
	}
	c := newClient(t, Config{Servers: []string{origin.URL}, Proxies: "auto;DIRECT", PACURLs: []string{missing.URL}})
	wantContent(t, c, cas.Request{Name: object}, content)

	c = newClient(t, Config{Servers: []string{origin.URL}, Proxies: "auto", PACURLs: []string{missing.URL}})
	n := len(missing.requests())
	for range 3 {
		if _, err := get(c, cas.Request{Name: object}); err == nil || !strings.Contains(err.Error(), missing.URL) || !strings.Contains(err.Error(), "404") {
			t.Errorf("error %v", err)
		}
	}
	if len(missing.requests()) == n {
		t.Error("nobody was asked")
	}
	long := newSite(t, nil, func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		io.WriteString(w, strings.Repeat(" ", maxPAC+1))
		return true
	})
	c = newClient(t, Config{Servers: []string{origin.URL}, Proxies: "auto", PACURLs: []string{long.URL}})
	if _, err := get(c, cas.Request{Name: object}); err == nil || !strings.Contains(err.Error(), "longer") {
		t.Errorf("error %v", err)
	}
}

func TestReplaceAuto(t *testing.T) {
	for _, tc := range []struct{ chain, want string }{
		{"auto", "F;G"}, {"a;auto;b", "a;F;G;b"}, {"a| auto ;b", "F;G;b"}, {"automatic;a", "automatic;a"}, {"", ""},
	} {
		if got := replaceAuto(tc.chain, "F;G"); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.chain, got, tc.want)
		}
	}
}

func FuzzParseFound(f *testing.F) {
	f.Add("PROXY a:3128; PROXY b; DIRECT")
	f.Add("SOCKS x:1")
	f.Fuzz(func(t *testing.T, s string) {
		chain, err := parseFound(s)
		if err != nil {
			return
		}
		if _, err := parseProxies(chain, ""); err != nil {
			t.Fatalf("%q gave %q: %v", s, chain, err)
		}
	})
}
