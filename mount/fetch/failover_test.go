package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
)

func TestHostFailover(t *testing.T) {
	content := noise(1000)
	good := newSite(t, content, nil)
	for name, bad := range map[string]string{
		"down": deadURL(t), "unknown": "http://" + noName,
		"404": newSite(t, nil, status(404)).URL, "500": newSite(t, nil, status(500)).URL,
		"400": newSite(t, nil, status(400)).URL, "429": newSite(t, nil, status(429)).URL, "403": newSite(t, nil, status(403)).URL,
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, Config{Servers: []string{bad, good.URL}})
			wantContent(t, c, cas.Request{Name: object}, content)
			if st := c.Status(); st.Host != good.host() || st.HostSwitches != 1 {
				t.Errorf("status %+v", st)
			}
			n := c.Status().Failures
			wantContent(t, c, cas.Request{Name: head}, content)
			if c.Status().Failures != n {
				t.Error("the failed host was asked again")
			}
		})
	}
	c := newClient(t, Config{Servers: []string{deadURL(t), good.URL}, MaxServers: 1})
	if _, err := get(c, cas.Request{Name: object}); err == nil {
		t.Error("the second of at most one server was asked")
	}
}

func TestProxyFailover(t *testing.T) {
	content := noise(1000)
	origin := newSite(t, content, nil)
	works := newForwarder(t, nil)
	answer := func(code int, header, value string) string {
		return newForwarder(t, func(w http.ResponseWriter, _ *http.Request) bool {
			if header != "" {
				w.Header().Set(header, value)
			}
			w.WriteHeader(code)
			return true
		}).URL
	}
	for name, chain := range map[string]string{
		"next group":         deadURL(t) + ";" + works.URL,
		"same group":         deadURL(t) + "|" + deadURL(t) + "|" + works.URL,
		"unknown name":       "http://" + noName + ":3128;" + works.URL,
		"status of a proxy":  answer(403, "", "") + ";" + works.URL,
		"squid's own error":  answer(503, "X-Squid-Error", "ERR_CANNOT_FORWARD 0") + ";" + works.URL,
		"error of Proxy-St.": answer(502, "Proxy-Status", "p; error=connection_refused") + ";" + works.URL,
	} {
		t.Run(name, func(t *testing.T) {
			before := works.count()
			c := newClient(t, Config{Servers: []string{origin.URL}, Proxies: chain})
			wantContent(t, c, cas.Request{Name: object}, content)
			if st := c.Status(); works.count() != before+1 || "http://"+st.Proxy != works.URL || st.HostSwitches != 0 {
				t.Errorf("%d requests at the good proxy; status %+v", works.count()-before, st)
			}
		})
	}
	c := newClient(t, Config{Servers: []string{origin.URL}, Proxies: deadURL(t) + ";DIRECT"})
	wantContent(t, c, cas.Request{Name: object}, content)
	if st := c.Status(); st.Proxy != "DIRECT" {
		t.Errorf("status %+v", st)
	}
}

// TestHostAfterProxies takes a host for the reason when all proxies fail to reach it, and begins with the first proxy again.
func TestHostAfterProxies(t *testing.T) {
	content := noise(1000)
	bad, good := deadURL(t), newSite(t, content, nil)
	p, q := newForwarder(t, nil), newForwarder(t, nil)
	c := newClient(t, Config{Servers: []string{bad, good.URL}, Proxies: p.URL + ";" + q.URL, MaxRetries: -1})
	wantContent(t, c, cas.Request{Name: object}, content)
	if st := c.Status(); st.Host != good.host() || "http://"+st.Proxy != p.URL || st.HostSwitches != 1 {
		t.Errorf("status %+v", st)
	}
	if p.count() != 2 || q.count() != 1 {
		t.Errorf("%d and %d requests at the proxies, want 2 and 1", p.count(), q.count())
	}
	// The host's own answer does not blame the proxy.
	missing := newSite(t, nil, status(404))
	c = newClient(t, Config{Servers: []string{missing.URL, good.URL}, Proxies: p.URL + ";" + q.URL})
	wantContent(t, c, cas.Request{Name: object}, content)
	if st := c.Status(); st.ProxySwitches != 0 || st.HostSwitches != 1 {
		t.Errorf("status %+v", st)
	}
}

func TestResetTimers(t *testing.T) {
	var now atomic.Int64
	cfg := Config{Servers: []string{"http://a", "http://b"}, Proxies: "p1|p2;p3", ProxyReset: time.Minute, HostReset: time.Hour}
	cfg.defaults()
	r, err := newRoutes(cfg, &names{})
	if err != nil {
		t.Fatal(err)
	}
	r.now = func() time.Time { return time.Unix(now.Load(), 0).UTC() }
	r.lookup = func(context.Context, string) ([]string, error) { return nil, errors.New("no names here") }
	now.Store(1_000_000)
	at := func() (string, string) {
		rt := r.current(t.Context(), "")
		return rt.host.name, rt.proxy.name
	}
	host, one := at()
	if host != "a" || one != "p1:1080" && one != "p2:1080" {
		t.Fatalf("start with %s through %s", host, one)
	}
	rt := r.current(t.Context(), "")
	r.leaveProxy(rt)
	r.leaveProxy(rt) // by another transfer that failed at the same time
	_, two := at()
	if two == one || two == "p3:1080" {
		t.Fatalf("after %s comes %s", one, two)
	}
	r.leaveProxy(r.current(t.Context(), ""))
	if _, p := at(); p != "p3:1080" {
		t.Fatalf("after the group comes %s", p)
	}
	r.leaveHost(rt)
	r.leaveHost(rt)
	if h, _ := at(); h != "b" {
		t.Fatalf("host %s", h)
	}
	now.Add(61)
	if h, p := at(); h != "b" || p == "p3:1080" {
		t.Fatalf("after a minute: host %s, proxy %s", h, p)
	}
	now.Add(3600)
	if h, _ := at(); h != "a" {
		t.Fatalf("after an hour: host %s", h)
	}
	// Round and round.
	for range 3 {
		r.leaveProxy(r.current(t.Context(), ""))
	}
	if _, p := at(); p != "p1:1080" && p != "p2:1080" {
		t.Errorf("after all proxies: %s", p)
	}
}

// TestAddresses makes members of the addresses of a proxy's name, of the preferred family, and follows a change of the name.
func TestAddresses(t *testing.T) {
	addrs := []string{"10.0.0.1", "10.0.0.2", "fd00::1"}
	var now time.Time
	for family, want := range map[int]int{0: 3, 4: 2, 6: 1} {
		cfg := Config{Servers: []string{"http://a"}, Proxies: "squid:3128", IPFamily: family}
		cfg.defaults()
		r, err := newRoutes(cfg, &names{})
		if err != nil {
			t.Fatal(err)
		}
		r.now = func() time.Time { return now }
		r.lookup = func(_ context.Context, name string) ([]string, error) { return addrs, nil }
		now = time.Unix(1e9, 0)
		seen := map[string]bool{}
		for range want {
			rt := r.current(t.Context(), "")
			seen[rt.proxy.name] = true
			if _, n := r.size(); n != want && want > 1 {
				t.Errorf("family %d: %d proxies, want %d", family, n, want)
			}
			r.leaveProxy(rt)
		}
		if len(seen) != want {
			t.Errorf("family %d: %v", family, seen)
		}
		r.resetProxies()
		r.lookup = func(_ context.Context, name string) ([]string, error) { return []string{"10.9.9.1", "10.9.9.2"}, nil }
		now = now.Add(2 * time.Minute)
		if got := r.current(t.Context(), "").proxy.name; !strings.HasPrefix(got, "10.9.9.") {
			t.Errorf("after the name has moved: %s", got)
		}
		r.lookup = func(_ context.Context, name string) ([]string, error) { return nil, errors.New("no name server") }
		now = now.Add(2 * time.Minute)
		if got := r.current(t.Context(), "").proxy.name; !strings.HasPrefix(got, "10.9.9.") {
			t.Errorf("without a name server: %s", got)
		}
	}
}

// TestReject turns away from a host that serves wrong bytes.
func TestReject(t *testing.T) {
	content := []byte("right")
	o := cas.Object{Hash: cas.Sum(cas.SHA1, content), Compression: cas.None, Size: int64(len(content))}
	good, bad := newSite(t, content, nil), newSite(t, []byte("wrong"), nil)
	c := newClient(t, Config{Servers: []string{bad.URL, good.URL}})
	got, err := cas.ReadVerified(t.Context(), c, o)
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("%q, error %v", got, err)
	}
	if seen := bad.requests(); len(seen) != 2 || seen[1].Header.Get("Cache-Control") != "no-cache" {
		t.Errorf("%d requests at the bad host", len(seen))
	}
	c = newClient(t, Config{Servers: []string{bad.URL}})
	if _, err = cas.ReadVerified(t.Context(), c, o); !errors.Is(err, cas.ErrCorrupt) || !strings.Contains(err.Error(), bad.host()) {
		t.Errorf("error %v", err)
	}
	p := newForwarder(t, func(w http.ResponseWriter, _ *http.Request) bool { io.WriteString(w, "wrong"); return true })
	q := newForwarder(t, nil)
	c = newClient(t, Config{Servers: []string{good.URL}, Proxies: p.URL + ";" + q.URL})
	if got, err = cas.ReadVerified(t.Context(), c, o); err != nil || !bytes.Equal(got, content) {
		t.Errorf("through a bad proxy: %q, error %v", got, err)
	}
}

func TestClassifyStatus(t *testing.T) {
	viaProxy := route{host: host{name: "h"}, proxy: mustProxy(t, "p:1")}
	for _, tc := range []struct {
		code     int
		header   http.Header
		blame    blame
		transfer bool
	}{
		{500, nil, blameHost, false}, {502, nil, blameHost, false}, {504, nil, blameHost, false}, {599, nil, blameHost, false},
		{400, nil, blameHost, false}, {404, nil, blameHost, false}, {429, nil, blameHost, true},
		{401, nil, blameProxy, false}, {403, nil, blameProxy, false}, {407, nil, blameProxy, false}, {410, nil, blameProxy, false},
		{416, nil, blameProxy, false}, {304, nil, blameProxy, false},
		{301, nil, blameHost, false}, {302, nil, blameHost, false}, {303, nil, blameHost, false}, {307, nil, blameHost, false},
		{503, http.Header{"X-Squid-Error": {"ERR"}}, blameProxy, false}, {404, http.Header{"X-Squid-Error": {"ERR"}}, blameProxy, false},
		{502, http.Header{"Proxy-Status": {"a", "b; error=x"}}, blameProxy, false}, {502, http.Header{"Proxy-Status": {"a"}}, blameHost, false},
		{429, http.Header{"X-Squid-Error": {"ERR"}}, blameHost, true},
	} {
		f := classifyStatus(viaProxy, &http.Response{StatusCode: tc.code, Header: tc.header})
		if f.blame != tc.blame || f.transfer != tc.transfer {
			t.Errorf("%d %v: blame %v, transfer %v", tc.code, tc.header, f.blame, f.transfer)
		}
		if f := classifyStatus(route{}, &http.Response{StatusCode: tc.code, Header: tc.header}); f.blame != blameHost {
			t.Errorf("%d %v without a proxy: blame %v", tc.code, tc.header, f.blame)
		}
	}
}

func mustProxy(t testing.TB, s string) proxy {
	p, err := parseProxy(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParseProxies(t *testing.T) {
	for _, tc := range []struct{ chain, fallback, want string }{
		{"", "", "[[DIRECT]]"},
		{"DIRECT", "", "[[DIRECT]]"},
		{"direct", "", "[[DIRECT]]"},
		{"http://a:3128", "", "[[a:3128]]"},
		{"a:3128|b:3128;DIRECT", "", "[[a:3128 b:3128] [DIRECT]]"},
		{" a:1 | http://b:2 ;; | c ;", "", "[[a:1 b:2] [c:1080]]"},
		{"https://a", "", "[[a]]"},
		{"http://user:secret@a:1", "", "[[a:1]]"},
		{"http://[fd00::1]:3128", "", "[[[fd00::1]:3128]]"},
		{"a:1;DIRECT", "f:1|g:1", "[[a:1] [f:1 g:1]]"},
		{"a:1|DIRECT", "f:1;DIRECT", "[[a:1] [f:1] [DIRECT]]"},
		{"DIRECT", "f:1", "[[f:1]]"},
		{";", "", "error"}, {"ftp://a", "", "error"}, {"http://", "", "error"}, {"a b:1", "", "error"},
		{"a:1,b:1", "", "error"}, {"a:x", "", "error"}, {"a:99999", "", "error"}, {"a:0", "", "error"},
		{"DIRECT", "ftp://a", "error"},
	} {
		groups, err := parseProxies(tc.chain, tc.fallback)
		got := "error"
		if err == nil {
			var st Status
			(&routes{chain: groups, hosts: make([]host, 1), members: groups[0]}).status(&st)
			got = fmt.Sprint(st.Proxies)
		}
		if got != tc.want {
			t.Errorf("%q, fallback %q: %s (%v), want %s", tc.chain, tc.fallback, got, err, tc.want)
		}
	}
}

func FuzzParseProxies(f *testing.F) {
	f.Add("http://a:3128|b;DIRECT", "c")
	f.Fuzz(func(t *testing.T, chain, fallback string) {
		groups, err := parseProxies(chain, fallback)
		if err != nil {
			return
		}
		if len(groups) == 0 {
			t.Fatal("no group and no error")
		}
		for _, g := range groups {
			if len(g) == 0 {
				t.Fatal("empty group")
			}
			for _, p := range g {
				if p.url == nil {
					continue
				}
				if again, err := parseProxy(p.url.String()); err != nil || again.name != p.name {
					t.Fatalf("%s reads back as %s, error %v", p.url, again.name, err)
				}
			}
		}
	})
}

func TestParseOrder(t *testing.T) {
	if got, err := parseOrder("2,3,1\n", 3); err != nil || !reflect.DeepEqual(got, []int{1, 2, 0}) {
		t.Errorf("%v, error %v", got, err)
	}
	for _, s := range []string{"", "1,2", "1,2,2", "0,1,2", "1,2,4", "1,2,3,4", "a,b,c", "1;2;3"} {
		if got, err := parseOrder(s, 3); err == nil {
			t.Errorf("%q gave %v", s, got)
		}
	}
}

func TestGeoOrder(t *testing.T) {
	content := noise(100)
	var asked atomic.Value
	order := func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/api/v1.0/geo/") {
			return false
		}
		asked.Store(r.URL.Path)
		io.WriteString(w, "3,2,1\n")
		return true
	}
	a, b, z := newSite(t, content, order), newSite(t, content, order), newSite(t, content, order)
	cfg := Config{Servers: []string{a.URL + "/cvmfs/x", b.URL + "/cvmfs/x", z.URL + "/cvmfs/x"}, GeoAPI: true, GeoProxy: "me.example.org", MaxServers: 2}
	c := newClient(t, cfg)
	wantContent(t, c, cas.Request{Name: object}, content)
	if st := c.Status(); st.Host != z.host() || len(st.Hosts) != 2 || st.Hosts[1] != b.host() {
		t.Errorf("status %+v", st)
	}
	if got := asked.Load(); got != "/cvmfs/x/api/v1.0/geo/me.example.org/127.0.0.1,127.0.0.1,127.0.0.1" {
		t.Errorf("asked %v", got)
	}
	// Nonsense leaves the order as it was.
	n := newSite(t, content, func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/geo/") {
			io.WriteString(w, "no idea")
			return true
		}
		return false
	})
	c = newClient(t, Config{Servers: []string{n.URL, deadURL(t)}, GeoAPI: true})
	wantContent(t, c, cas.Request{Name: object}, content)
	if st := c.Status(); st.Host != n.host() || len(st.Hosts) != 2 {
		t.Errorf("status %+v", st)
	}
}

// TestShard sends each file through one proxy of the group, about as many through each, and moves only those of a proxy that
// is gone.
func TestShard(t *testing.T) {
	cfg := Config{Servers: []string{"http://a"}, Proxies: "http://10.0.0.1:1|http://10.0.0.2:1|http://10.0.0.3:1;http://10.0.0.9:1", ShardProxies: true}
	cfg.defaults()
	const files = 300
	at := func(r *routes, file int) route {
		return r.current(t.Context(), fmt.Sprintf("data/%02x/%d", file%256, file))
	}
	var rs []*routes
	for range 2 {
		r, err := newRoutes(cfg, &names{})
		if err != nil {
			t.Fatal(err)
		}
		rs = append(rs, r)
	}
	count := map[string]int{}
	var gone route
	before := map[int]string{}
	for i := range files {
		rt := at(rs[0], i)
		if other := at(rs[1], i); other.proxy.name != rt.proxy.name {
			t.Fatalf("file %d goes by %s and by %s", i, rt.proxy.name, other.proxy.name)
		}
		before[i], gone = rt.proxy.name, rt
		count[rt.proxy.name]++
	}
	for name, n := range count {
		if len(count) != 3 || n < files/5 {
			t.Errorf("%d files of %d go by %s (of %d proxies)", n, files, name, len(count))
		}
	}
	if !rs[0].leaveProxy(gone) || rs[0].leaveProxy(gone) {
		t.Error("a proxy that failed is not left once")
	}
	for i := range files {
		now := at(rs[0], i).proxy.name
		if now == gone.proxy.name || before[i] != gone.proxy.name && now != before[i] {
			t.Errorf("file %d goes by %s, before by %s", i, now, before[i])
		}
	}
	for range 2 {
		rs[0].leaveProxy(at(rs[0], 0))
	}
	if got := at(rs[0], 0).proxy.name; got != "10.0.0.9:1" {
		t.Errorf("with the whole group gone: %s", got)
	}
}
