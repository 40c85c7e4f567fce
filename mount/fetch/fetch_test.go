package fetch

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
)

func TestFetch(t *testing.T) {
	content := noise(300_000)
	s := newSite(t, content, nil)
	c := newClient(t, Config{Servers: []string{s.URL + "/cvmfs/a.example.org/"}, UserAgent: "test/1"})
	wantContent(t, c, cas.Request{Name: object}, content)
	wantContent(t, c, cas.Request{Name: head, NoCache: true}, content)
	wantContent(t, c, cas.Request{Name: "/dir/a b%?#.txt"}, content)
	seen := s.requests()
	if got := seen[0].URL.Path; got != "/cvmfs/a.example.org/"+object {
		t.Errorf("path %q", got)
	}
	if got := seen[0].Header; got.Get("User-Agent") != "test/1" || got.Get("Cache-Control") != "" || got.Get("Accept-Encoding") != "" {
		t.Errorf("headers %v", got)
	}
	if got := seen[1].Header; got.Get("Cache-Control") != "no-cache" || got.Get("Pragma") != "no-cache" {
		t.Errorf("headers %v, want no-cache", got)
	}
	if got := seen[2].URL.Path; got != "/cvmfs/a.example.org/dir/a b%?#.txt" {
		t.Errorf("path %q", got)
	}
	if st := c.Status(); st.Requests != 3 || st.Bytes != 3*300_000 || st.Host != s.host() || st.Proxy != "DIRECT" || st.Active != 0 {
		t.Errorf("status %+v", st)
	}
}

func TestRange(t *testing.T) {
	content := noise(100_000)
	ignore := func(_ int, w http.ResponseWriter, r *http.Request) bool {
		r.Header.Del("Range")
		return false
	}
	for _, tc := range []struct {
		name  string
		fault func(int, http.ResponseWriter, *http.Request) bool
	}{
		{"honoured", nil}, {"ignored", ignore},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newClient(t, Config{Servers: []string{newSite(t, content, tc.fault).URL}})
			wantContent(t, c, cas.Request{Name: "x", Offset: 1234, Length: 40_000}, content[1234:41_234])
			wantContent(t, c, cas.Request{Name: "x", Length: 1}, content[:1])
			wantContent(t, c, cas.Request{Name: "x", Offset: 99_999, Length: 1}, content[99_999:])
			if _, err := get(c, cas.Request{Name: "x", Offset: 99_000, Length: 2000}); err == nil {
				t.Error("a range beyond the end was served")
			}
		})
	}
	if _, err := newClient(t, Config{Servers: []string{"http://127.0.0.1:1"}}).Fetch(context.Background(), cas.Request{Name: "x", Offset: -1}); err == nil {
		t.Error("a negative offset was accepted")
	}
}

func TestWrongRange(t *testing.T) {
	for _, header := range []string{"bytes 11-20/100", "bytes 10-30/100", "bytes */100", "", "bytes 10"} {
		s := newSite(t, nil, func(_ int, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Range", header)
			w.WriteHeader(http.StatusPartialContent)
			w.Write(make([]byte, 10))
			return true
		})
		c := newClient(t, Config{Servers: []string{s.URL}})
		if _, err := get(c, cas.Request{Name: "x", Offset: 10, Length: 10}); !errors.Is(err, errRange) {
			t.Errorf("Content-Range %q: error %v", header, err)
		}
		if _, err := get(c, cas.Request{Name: "x"}); !errors.Is(err, errRange) {
			t.Errorf("part of a whole file: error %v", err)
		}
	}
}

func TestNotFound(t *testing.T) {
	s := newSite(t, nil, status(404))
	c := newClient(t, Config{Servers: []string{s.URL}, Patience: patience})
	_, err := get(c, cas.Request{Name: object})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("error %v", err)
	}
	if len(s.requests()) != 1 {
		t.Errorf("%d requests, want 1: the answer is definite", len(s.requests()))
	}
	var e *Error
	if !errors.As(err, &e) || e.Name != object || e.Host != s.host() || e.Tries != 1 {
		t.Errorf("error %#v", err)
	}
}

func TestErrorText(t *testing.T) {
	dead := deadURL(t)
	c := newClient(t, Config{Servers: []string{dead}})
	_, err := get(c, cas.Request{Name: object})
	host := strings.TrimPrefix(dead, "http://")
	text := regexpDuration.ReplaceAllString(err.Error(), "TIME")
	want := "fetch " + object + ": host " + host + " (no proxy): connection refused after TIME and 2 tries; check the network or servers: in the configuration"
	if text != want {
		t.Errorf("error\n%s\nwant\n%s", text, want)
	}
	p := deadURL(t)
	c = newClient(t, Config{Servers: []string{"http://localhost:1"}, Proxies: p, MaxRetries: -1})
	_, err = get(c, cas.Request{Name: head})
	text = regexpDuration.ReplaceAllString(err.Error(), "TIME")
	want = "fetch " + head + ": host localhost:1 (proxy " + strings.TrimPrefix(p, "http://") + "): connection refused after TIME; check the network or proxies: in the configuration"
	if text != want {
		t.Errorf("error\n%s\nwant\n%s", text, want)
	}
	if st := c.Status(); st.Last.Err != "connection refused" || st.Last.Name != head || st.Failures != 1 || st.Since.IsZero() {
		t.Errorf("status %+v", st)
	}
}

// TestErrorHints are the ends of messages: what the user can do.
func TestErrorHints(t *testing.T) {
	redirect := func(_ int, w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
		return true
	}
	for _, tt := range []struct {
		name    string
		fault   func(int, http.ResponseWriter, *http.Request) bool
		members bool
		want    string
	}{
		{head, status(404), false, "the server does not have the repository; check servers: in the configuration"},
		{object, status(404), false, "Not Found"},
		{object, status(403), true, "a valid token or proxy certificate"},
		{object, status(403), false, "neither token nor certificate was shown"},
		{object, redirect, false, "set follow_redirects: yes"},
		{object, status(500), false, "check the network or servers: in the configuration"},
	} {
		c := newClient(t, Config{Servers: []string{newSite(t, nil, tt.fault).URL}})
		if tt.members {
			c.Authorize(nil)
		}
		if _, err := get(c, cas.Request{Name: tt.name}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestUnknownName(t *testing.T) {
	c := newClient(t, Config{Servers: []string{"http://" + noName}})
	_, err := get(c, cas.Request{Name: object})
	if err == nil || !strings.Contains(err.Error(), "cannot resolve the name "+noName) {
		t.Errorf("error %v", err)
	}
}

func TestRedirect(t *testing.T) {
	content := noise(1000)
	target := newSite(t, content, nil)
	s := newSite(t, nil, func(_ int, w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, target.URL+"/x", http.StatusFound)
		return true
	})
	c := newClient(t, Config{Servers: []string{s.URL}})
	if _, err := get(c, cas.Request{Name: object}); !errors.Is(err, errRedirect) {
		t.Errorf("error %v", err)
	}
	c = newClient(t, Config{Servers: []string{s.URL}, FollowRedirects: true})
	wantContent(t, c, cas.Request{Name: object}, content)

	loop := newSite(t, nil, nil)
	loop.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, "/again", http.StatusFound)
		return true
	}
	c = newClient(t, Config{Servers: []string{loop.URL}, FollowRedirects: true, MaxRetries: -1})
	if _, err := get(c, cas.Request{Name: object}); err == nil || len(loop.requests()) > maxRedirects+1 {
		t.Errorf("error %v after %d requests", err, len(loop.requests()))
	}
}

func TestTLS(t *testing.T) {
	content := noise(1_000_000)
	s := startSite(content, nil)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.stop)
	c := newClient(t, Config{Servers: []string{s.URL}})
	if _, err := get(c, cas.Request{Name: object}); err == nil || !strings.Contains(err.Error(), "ca_bundle: in the configuration") {
		t.Errorf("error %v, want one about the certificate", err)
	}
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(bundle, block, 0o600); err != nil {
		t.Fatal(err)
	}
	c = newClient(t, Config{Servers: []string{s.URL}, CABundle: bundle})
	wantContent(t, c, cas.Request{Name: object}, content)
	if seen := s.requests(); seen[len(seen)-1].ProtoMajor != 2 {
		t.Errorf("protocol %s, want HTTP/2", seen[len(seen)-1].Proto)
	}
	for _, bad := range []string{filepath.Join(t.TempDir(), "absent"), "/dev/null"} {
		if _, err := New(Config{Servers: []string{s.URL}, CABundle: bad}); err == nil {
			t.Errorf("bundle %s was accepted", bad)
		}
	}
}

func TestFileServer(t *testing.T) {
	dir := t.TempDir()
	content := noise(1000)
	if err := os.WriteFile(filepath.Join(dir, "a b"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, Config{Servers: []string{"file://" + dir}, Proxies: "http://127.0.0.1:1", Patience: patience})
	wantContent(t, c, cas.Request{Name: "a b"}, content)
	wantContent(t, c, cas.Request{Name: "/a b", Offset: 10, Length: 20}, content[10:30])
	if _, err := get(c, cas.Request{Name: "absent"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	for _, r := range []cas.Request{{Name: "../x"}, {Name: "a b", Offset: 990, Length: 20}, {Name: "."}} {
		if _, err := get(c, r); err == nil {
			t.Errorf("%+v was served", r)
		}
	}
}

// TestKeepAlive has a burst of fetches use the connections of the one before.
func TestKeepAlive(t *testing.T) {
	const burst = 64
	content := noise(10_000)
	var gate sync.WaitGroup
	s := newSite(t, content, func(int, http.ResponseWriter, *http.Request) bool {
		gate.Done()
		gate.Wait() // all are in flight at once
		return false
	})
	c := newClient(t, Config{Servers: []string{s.URL}})
	for range 3 {
		gate.Add(burst)
		var all sync.WaitGroup
		for range burst {
			all.Go(func() {
				if got, err := get(c, cas.Request{Name: object}); err != nil || len(got) != len(content) {
					t.Errorf("%d bytes, error %v", len(got), err)
				}
			})
		}
		all.Wait()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns > 2*burst { // each burst would need new ones
		t.Errorf("%d connections for 3 bursts of %d", s.conns, burst)
	}
}

func TestConcurrencyLimit(t *testing.T) {
	var mu sync.Mutex
	now, most := 0, 0
	s := newSite(t, noise(100), func(int, http.ResponseWriter, *http.Request) bool {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		time.Sleep(time.Millisecond) // long enough to overlap; nothing depends on it
		mu.Lock()
		now--
		mu.Unlock()
		return false
	})
	c := newClient(t, Config{Servers: []string{s.URL}, Concurrency: 3})
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			if _, err := get(c, cas.Request{Name: object}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if most > 3 {
		t.Errorf("%d at once, want at most 3", most)
	}
	// One that waits for its turn can leave.
	c = newClient(t, Config{Servers: []string{s.URL}, Concurrency: 1})
	held, err := c.Fetch(context.Background(), cas.Request{Name: object})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Fetch(ctx, cas.Request{Name: object}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	held.Close()
	held.Close() // twice is once
	wantContent(t, c, cas.Request{Name: object}, s.content)
	if _, err := io.ReadAll(held); err == nil {
		t.Error("read after close gave no error")
	}
}

func TestNewErrors(t *testing.T) {
	for _, cfg := range []Config{
		{}, {Servers: []string{""}}, {Servers: []string{"ftp://x"}}, {Servers: []string{"host/path"}},
		{Servers: []string{"http://"}}, {Servers: []string{"file://host/x"}}, {Servers: []string{"http://a b"}},
		{Servers: []string{"http://x"}, Proxies: "ftp://x"}, {Servers: []string{"http://x"}, Proxies: "auto;ftp://x"},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}
