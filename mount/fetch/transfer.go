package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
)

// resumeAfter is how many bytes an attempt must have brought to be counted as a success when it breaks afterwards.
const resumeAfter = 64 << 10

// maxRoundWait bounds the waits of a patient transfer, so that it notices soon that the network is back.
const maxRoundWait = 2 * time.Second

// transfer is one Fetch: a series of attempts, until one brings the file to its end.
type transfer struct {
	c   *Client
	ctx context.Context
	r   cas.Request
	got int64 // bytes handed on

	start          time.Time // since the last success
	tries          int
	retries        int // of the same host and proxy
	hosts, proxies int // used
	backoff        time.Duration
}

// begin starts counting, at the beginning and whenever there was progress.
func (t *transfer) begin() {
	t.start, t.tries, t.retries, t.hosts, t.proxies, t.backoff = time.Now(), 0, 0, 1, 1, 0
}

// open returns the file from its beginning.
func (t *transfer) open() (io.ReadCloser, error) {
	s, err := t.connect()
	if err != nil {
		return nil, err
	}
	if immutable(t.r.Name) {
		return &body{t: t, s: s}, nil
	}
	return t.openSmall(s)
}

// openSmall reads the beginning of a file that may change at any time. If it breaks it is read again from the start, as no two
// halves need to fit together. Such files are short; what is longer is handed on without a second try.
func (t *transfer) openSmall(s *stream) (io.ReadCloser, error) {
	for {
		head, err := io.ReadAll(io.LimitReader(s, smallFile))
		if err == nil {
			t.got = int64(len(head))
			return &body{t: t, s: s, head: bytes.NewReader(head), final: true}, nil
		}
		f := s.failure(err)
		s.Close()
		if err := t.next(f); err != nil {
			return nil, err
		}
		if s, err = t.connect(); err != nil {
			return nil, err
		}
	}
}

// connect makes attempts until a host begins to send the file, from byte got of what was asked for.
func (t *transfer) connect() (*stream, error) {
	for {
		t.tries++
		s, f := t.c.attempt(t.ctx, t.c.routes.current(t.ctx, t.r.Name), t.r, t.got, t.start.Add(t.c.cfg.Deadline))
		if f == nil {
			return s, nil
		}
		if err := t.next(f); err != nil {
			return nil, err
		}
	}
}

// next decides what follows a failure: another attempt, maybe after a wait, at the same place or at the next; or the end.
func (t *transfer) next(f *failure) error {
	if err := t.ctx.Err(); err != nil {
		return fmt.Errorf("fetch %s: %w", t.r.Name, context.Cause(t.ctx))
	}
	t.c.failed(t.r.Name, f)
	if time.Since(t.start) >= t.c.cfg.Deadline {
		if f.err != errDeadline {
			f.err = fmt.Errorf("%w: %w", errDeadline, f.err)
		}
		return t.error(f)
	}
	if f.transfer && t.retries < t.c.cfg.MaxRetries && !t.silentHead(f) {
		t.retries++
		return t.wait(f, t.c.cfg.BackoffMax)
	}
	t.retries = 0
	switch hosts, proxies := t.c.routes.size(); {
	case f.blame == blameProxy && t.proxies < proxies:
		t.proxies++
		t.c.leaveProxy(f)
	case t.hosts < hosts:
		t.hosts++
		if f.blame == blameProxy { // all of them failed: the host may be the reason
			t.proxies = 1
			t.c.routes.firstProxy()
		}
		t.c.leaveHost(f)
	case t.patient(f):
		t.hosts, t.proxies = 1, 1
		if f.blame == blameProxy {
			t.c.leaveProxy(f)
		}
		t.c.leaveHost(f)
		return t.wait(f, min(maxRoundWait, t.c.cfg.BackoffMax))
	default:
		return t.error(f)
	}
	return nil
}

// silentHead says that who was asked for the repository's head did not answer within the whole time-out. He will hardly do so a
// moment later, and whoever starts a container waits for it: the next one is asked, or the revision in the cache has to do.
func (t *transfer) silentHead(f *failure) bool {
	return errors.Is(f.err, errSilent) && !immutable(t.r.Name)
}

// patient says that all hosts and proxies are worth another round: the network has been down for a short time only.
func (t *transfer) patient(f *failure) bool {
	t.c.mu.Lock()
	down := t.c.down
	t.c.mu.Unlock()
	if down.IsZero() || t.start.Before(down) {
		down = t.start
	}
	return f.down && immutable(t.r.Name) && time.Since(down) < t.c.cfg.Patience
}

// wait backs off: a random time at first, so that not all clients come back at once, then twice as long each time.
func (t *transfer) wait(f *failure, most time.Duration) error {
	if t.backoff == 0 {
		t.backoff = time.Millisecond + rand.N(max(t.c.cfg.BackoffInit, time.Millisecond))
	} else {
		t.backoff *= 2
	}
	t.backoff = min(t.backoff, most)
	left := t.c.cfg.Deadline - time.Since(t.start)
	if err := sleep(t.ctx, min(t.backoff, left)); err != nil {
		return fmt.Errorf("fetch %s: %w", t.r.Name, err)
	}
	return nil
}

func (t *transfer) error(f *failure) error {
	members := t.c.credential.members.Load()
	denied := f.refused() && strings.HasPrefix(f.route.host.base, "https://") && members
	return &Error{t.r.Name, f.route.host.name, f.route.proxy.name, time.Since(t.start), t.tries, f.err, f.hint(t.r.Name, members), denied}
}

func (c *Client) leaveHost(f *failure) bool {
	if !c.routes.leaveHost(f.route) {
		return false
	}
	c.counters.hostSwitches.Add(1)
	c.cfg.Log.Warn("host failed; using the next one", "host", f.route.host.name, "err", f.err)
	return true
}

func (c *Client) leaveProxy(f *failure) bool {
	if !c.routes.leaveProxy(f.route) {
		return false
	}
	c.counters.proxySwitches.Add(1)
	c.cfg.Log.Warn("proxy failed; using another", "proxy", f.route.proxy.name, "err", f.err)
	return true
}

// body hands on the streams of a transfer as one. It is a cas.Body.
type body struct {
	t      *transfer
	s      *stream       // nil after Close, and after the end
	head   *bytes.Reader // read before s; may be nil
	final  bool          // no second stream: a later one may be of another version of the file
	mark   int64         // t.got at the beginning of s
	err    error         // what Read ended with
	closed bool
}

func (b *body) Read(p []byte) (int, error) {
	if b.head != nil && b.head.Len() > 0 {
		return b.head.Read(p)
	}
	for b.err == nil {
		n, err := b.s.Read(p)
		b.t.got += int64(n)
		switch {
		case n > 0:
			return n, nil // an error will come again
		case err == io.EOF:
			b.err = io.EOF
		case err != nil:
			b.err = b.resume(err)
		}
	}
	return 0, b.err
}

// resume goes on with another stream where one broke.
func (b *body) resume(err error) error {
	f := b.s.failure(err)
	b.s.Close()
	if b.final {
		b.t.c.failed(b.t.r.Name, f)
		return b.t.error(f)
	}
	if b.t.got-b.mark >= resumeAfter {
		b.t.begin()
	}
	if err := b.t.next(f); err != nil {
		return err
	}
	s, err := b.t.connect()
	if err != nil {
		return err
	}
	b.s, b.mark = s, b.t.got
	return nil
}

func (b *body) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	if b.err == nil {
		b.err = errors.New("fetch: read after close")
	}
	err := b.s.Close()
	b.t.c.release()
	return err
}

// Source names the host and the proxy that the last bytes came from.
func (b *body) Source() string {
	if rt := b.s.route; !rt.direct() {
		return rt.host.name + " through proxy " + rt.proxy.name
	}
	return b.s.route.host.name
}

// Reject turns away from the host whose bytes were wrong although no proxy's cache was asked, or, if it is the only one, from
// the proxy.
func (b *body) Reject(reason error) bool {
	f := &failure{route: b.s.route, err: reason}
	b.t.c.failed(b.t.r.Name, f)
	if hosts, proxies := b.t.c.routes.size(); hosts == 1 && proxies == 1 {
		return false
	} else if hosts == 1 {
		b.t.c.leaveProxy(f)
	} else {
		b.t.c.leaveHost(f)
	}
	return true // this transfer's or another's doing
}
