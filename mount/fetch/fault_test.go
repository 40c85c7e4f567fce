package fetch

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
)

var regexpDuration = regexp.MustCompile(`\d+(\.\d+)?(µs|ms|s)`)

// TestBrokenTransfer cuts the first answers in all ways; the bytes must come out whole.
func TestBrokenTransfer(t *testing.T) {
	content := noise(500_000)
	for _, tc := range []struct {
		name   string
		faults int
		fault  func(*site) func(int, http.ResponseWriter, *http.Request) bool
	}{
		{"closed before the answer", 1, func(s *site) func(int, http.ResponseWriter, *http.Request) bool { return s.cut(-1, false) }},
		{"reset before the answer", 1, func(s *site) func(int, http.ResponseWriter, *http.Request) bool { return s.cut(-1, true) }},
		{"closed at once", 1, func(s *site) func(int, http.ResponseWriter, *http.Request) bool { return s.cut(0, false) }},
		{"closed in the middle", 3, func(s *site) func(int, http.ResponseWriter, *http.Request) bool { return s.cut(200_000, false) }},
		{"reset in the middle", 1, func(s *site) func(int, http.ResponseWriter, *http.Request) bool { return s.cut(200_000, true) }},
		{"last byte missing", 1, func(s *site) func(int, http.ResponseWriter, *http.Request) bool { return s.cut(len(content)-1, false) }},
		{"500", 1, func(*site) func(int, http.ResponseWriter, *http.Request) bool { return status(500) }},
		{"429", 3, func(*site) func(int, http.ResponseWriter, *http.Request) bool { return status(429) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, name := range []string{object, head} {
				s := newSite(t, content, nil)
				s.fault = first(tc.faults, tc.fault(s))
				c := newClient(t, Config{Servers: []string{s.URL}, MaxRetries: tc.faults, Patience: patience})
				if name == head && tc.name == "500" {
					continue // a definite answer about a head is not asked for again
				}
				wantContent(t, c, cas.Request{Name: name}, content)
			}
		})
	}
}

// TestResume takes the rest, and only the rest, after a cut; a server that ignores ranges does no harm.
func TestResume(t *testing.T) {
	content := noise(500_000)
	for _, ignore := range []bool{false, true} {
		s := newSite(t, content, nil)
		s.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n == 1 {
				return s.cut(200_000, false)(n, w, r)
			}
			if ignore {
				r.Header.Del("Range")
			}
			return false
		}
		c := newClient(t, Config{Servers: []string{s.URL}})
		wantContent(t, c, cas.Request{Name: object}, content)
		seen := s.requests()
		if len(seen) != 2 {
			t.Fatalf("%d requests", len(seen))
		}
		if got := seen[1].Header.Get("Range"); !ignore && got != "bytes=200000-" {
			t.Errorf("range %q", got)
		}
	}
}

// TestResumeElsewhere takes the rest from the next host when the first is gone.
func TestResumeElsewhere(t *testing.T) {
	content := noise(500_000)
	a, b := newSite(t, content, nil), newSite(t, content, nil)
	a.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
		if n == 1 {
			return a.cut(200_000, true)(n, w, r)
		}
		return status(500)(n, w, r)
	}
	c := newClient(t, Config{Servers: []string{a.URL, b.URL}, MaxRetries: -1})
	wantContent(t, c, cas.Request{Name: object, Offset: 100, Length: 400_000}, content[100:400_100])
	if len(b.requests()) != 1 || c.Status().Host != b.host() {
		t.Errorf("%d requests at the second host, %s in use", len(b.requests()), c.Status().Host)
	}
}

// TestHeadIsNeverPatched reads a file that changes between two attempts: it is the old one or the new one.
func TestHeadIsNeverPatched(t *testing.T) {
	long, other := bytes.Repeat([]byte("old"), 1000), bytes.Repeat([]byte("new"), 1000)
	s := newSite(t, long, nil)
	s.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
		if n == 1 {
			return s.cut(1500, false)(n, w, r)
		}
		w.Write(other)
		return true
	}
	c := newClient(t, Config{Servers: []string{s.URL}})
	wantContent(t, c, cas.Request{Name: head}, other)

	// What does not fit the buffer is handed on, and a cut in it is an error.
	big := noise(smallFile + 100_000)
	s = newSite(t, big, nil)
	s.fault = first(1, s.cut(smallFile+50_000, false))
	c = newClient(t, Config{Servers: []string{s.URL}})
	if _, err := get(c, cas.Request{Name: head}); err == nil {
		t.Error("a cut file was served")
	}
	wantContent(t, c, cas.Request{Name: head}, big)
}

// TestRandomCuts breaks most answers at random places.
func TestRandomCuts(t *testing.T) {
	content := noise(2_000_000)
	s := newSite(t, content, nil)
	s.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
		if rand.N(4) == 0 {
			return false
		}
		if strings.HasPrefix(r.Header.Get("Range"), "bytes=") {
			r.Header.Set("X-Cut", "1")
			http.ServeContent(&cutWriter{w, 70_000 + rand.N(500_000)}, r, "", time.Time{}, bytes.NewReader(content))
			return true
		}
		return s.cut(rand.N(len(content)), rand.N(2) == 0)(n, w, r)
	}
	c := newClient(t, Config{Servers: []string{s.URL}, MaxRetries: 20})
	for range 5 {
		wantContent(t, c, cas.Request{Name: object}, content)
	}
}

// cutWriter ends the connection after some bytes.
type cutWriter struct {
	http.ResponseWriter
	left int
}

func (w *cutWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p[:min(len(p), w.left)])
	if w.left -= n; w.left == 0 {
		w.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// TestSilence stalls the first answers; a time-out ends the wait and the next attempt succeeds.
func TestSilence(t *testing.T) {
	content := noise(200_000)
	for _, at := range []int{-1, 0, 100_000} {
		s := newSite(t, content, nil)
		s.fault = first(1, s.stall(at))
		// A loaded machine may miss this time-out a few times more.
		c := newClient(t, Config{Servers: []string{s.URL}, TimeoutDirect: 500 * time.Millisecond, MaxRetries: 50})
		wantContent(t, c, cas.Request{Name: object}, content)
		if f := c.Status().Last.Err; !strings.Contains(f, "no answer") && !strings.Contains(f, "too slow") {
			t.Errorf("stall after %d bytes: last failure %q", at, f)
		}
	}
}

// TestSilentHead asks each host for the head once: a container's start waits for it.
func TestSilentHead(t *testing.T) {
	content := noise(1000)
	silent, good := newSite(t, content, nil), newSite(t, content, nil)
	silent.fault = silent.stall(-1)
	c := newClient(t, Config{Servers: []string{silent.URL, good.URL}, TimeoutDirect: 500 * time.Millisecond, MaxRetries: 50})
	wantContent(t, c, cas.Request{Name: head}, content)
	if n := len(silent.requests()); n != 1 {
		t.Errorf("%d requests to a host that does not answer, want 1", n)
	}
}

// TestLowSpeed gives up transfers that trickle.
func TestLowSpeed(t *testing.T) {
	s := newSite(t, noise(200_000), nil)
	s.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte{0}); err != nil {
				break
			}
			w.(http.Flusher).Flush()
			time.Sleep(10 * time.Millisecond) // that is the trickle
		}
		return true
	}
	c := newClient(t, Config{Servers: []string{s.URL}, TimeoutDirect: 500 * time.Millisecond, MaxRetries: 50, LowSpeedLimit: 10_000})
	body, err := c.Fetch(context.Background(), cas.Request{Name: object})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	b := make([]byte, 1000)
	for !strings.Contains(c.Status().Last.Err, "too slow: less than 5000 bytes in 500ms") {
		if _, err := body.Read(b); err != nil {
			if !strings.Contains(err.Error(), "too slow: less than 5000 bytes in 500ms") { // all tries were
				t.Fatal(err)
			}
			return
		}
	}
}

func TestDeadline(t *testing.T) {
	s := newSite(t, nil, nil)
	s.fault = s.stall(-1)
	c := newClient(t, Config{Servers: []string{s.URL}, Deadline: 300 * time.Millisecond})
	if _, err := get(c, cas.Request{Name: object}); !errors.Is(err, errDeadline) {
		t.Errorf("error %v", err)
	}
	s = newSite(t, nil, status(503))
	c = newClient(t, Config{Servers: []string{s.URL}, Deadline: 300 * time.Millisecond, Patience: patience})
	if _, err := get(c, cas.Request{Name: object}); !errors.Is(err, errDeadline) {
		t.Errorf("error %v", err)
	}
}

func TestCancel(t *testing.T) {
	s := newSite(t, noise(1000), nil)
	for _, at := range []int{-1, 500} {
		arrived := make(chan bool, 10)
		s.mu.Lock()
		s.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
			arrived <- true
			return s.stall(at)(n, w, r)
		}
		s.mu.Unlock()
		c := newClient(t, Config{Servers: []string{s.URL}})
		ctx, cancel := context.WithCancel(context.Background())
		go func() { <-arrived; cancel() }()
		body, err := c.Fetch(ctx, cas.Request{Name: object})
		if err == nil {
			_, err = body.Read(make([]byte, 2000))
			for err == nil {
				_, err = body.Read(make([]byte, 2000))
			}
			body.Close()
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("stall after %d bytes: error %v", at, err)
		}
	}
}

// TestPatience outlasts a server that is down for a while, for objects; the repository's head does not wait.
func TestPatience(t *testing.T) {
	content := noise(1000)
	s := newSite(t, content, nil)
	s.fault = first(10, s.cut(-1, true))
	c := newClient(t, Config{Servers: []string{s.URL}, Patience: patience})
	if _, err := get(c, cas.Request{Name: head}); err == nil {
		t.Error("the head was waited for")
	}
	wantContent(t, c, cas.Request{Name: object}, content)
	if st := c.Status(); !st.Since.IsZero() {
		t.Errorf("an outage since %v, though it is over", st.Since)
	}
	// An outage that has lasted is not waited for.
	s.fault = s.cut(-1, true)
	c.mu.Lock()
	c.down = time.Now().Add(-2 * patience)
	c.mu.Unlock()
	n := len(s.requests())
	if _, err := get(c, cas.Request{Name: object}); err == nil || len(s.requests())-n > 4 {
		t.Errorf("error %v after %d requests", err, len(s.requests())-n)
	}
}

// TestStorm has many fetches at once from a server that fails most of the time.
func TestStorm(t *testing.T) {
	content := noise(50_000)
	s := newSite(t, content, nil)
	s.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
		switch rand.N(6) {
		case 0:
			return status(500)(n, w, r)
		case 1:
			return status(429)(n, w, r)
		case 2:
			return s.cut(-1, true)(n, w, r)
		}
		return false
	}
	c := newClient(t, Config{Servers: []string{s.URL}, Patience: patience})
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if got, err := get(c, cas.Request{Name: object}); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes, error %v", len(got), err)
			}
		})
	}
	all.Wait()
	if st := c.Status(); st.Active != 0 {
		t.Errorf("%d transfers are left", st.Active)
	}
}
