package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
)

// stream is the answer to one request. It ends with io.EOF only when all bytes that were asked for have come, and gives
// up when they come too slowly.
type stream struct {
	c      *Client
	route  route
	ctx    context.Context
	cancel context.CancelCauseFunc
	rc     io.ReadCloser
	skip   int64 // bytes to drop first, where the server ignored the range
	left   int64 // bytes still to come; -1: until the server says that it is all

	silence time.Duration // the time-out of the route
	timer   *time.Timer   // cancels a Read that takes too long; nil where nothing can
	spent   time.Duration // time waited in the current window
	arrived int64         // bytes that came in it
}

// attempt asks one host through one proxy, for what is left of r after got bytes.
func (c *Client) attempt(parent context.Context, rt route, r cas.Request, got int64, deadline time.Time) (*stream, *failure) {
	c.counters.requests.Add(1)
	if rt.host.file != "" {
		return c.openFile(parent, rt, r, got)
	}
	ctx, cancel := context.WithCancelCause(context.WithValue(parent, routeKey{}, rt))
	timer := time.AfterFunc(time.Until(deadline), func() { cancel(errDeadline) })
	defer timer.Stop()
	req, err := newRequest(ctx, rt, r, got, c.cfg.UserAgent)
	if err != nil {
		cancel(nil)
		return nil, &failure{route: rt, err: err}
	}
	if err := c.credential.sign(req); err != nil {
		cancel(nil)
		return nil, &failure{route: rt, err: err}
	}
	client, silence := c.proxied, c.cfg.Timeout
	if rt.direct() {
		client, silence = c.direct, c.cfg.TimeoutDirect
	}
	resp, err := client.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cancel(nil)
		f := classifyError(rt, err)
		if errors.Is(f.err, errSilent) {
			f.err = fmt.Errorf("%w within %v", errSilent, silence)
			client.CloseIdleConnections() // they may be as dead as this one
		}
		return nil, f
	}
	s := &stream{c: c, route: rt, ctx: ctx, cancel: cancel, rc: resp.Body, silence: silence}
	s.timer = time.AfterFunc(silence, func() { cancel(errSlow) })
	s.timer.Stop()
	if f := s.accept(resp, r, got); f != nil {
		s.drain()
		s.Close()
		return nil, f
	}
	c.worked()
	return s, nil
}

// newRequest makes the request for r without its first got bytes.
func newRequest(ctx context.Context, rt route, r cas.Request, got int64, agent string) (*http.Request, error) {
	name := url.URL{Path: "/" + strings.TrimPrefix(r.Name, "/")}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rt.host.base+name.EscapedPath(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", agent)
	if r.NoCache {
		req.Header.Set("Cache-Control", "no-cache")
		req.Header.Set("Pragma", "no-cache")
	}
	switch first := r.Offset + got; {
	case r.Length > 0:
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", first, r.Offset+r.Length-1))
	case first > 0:
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", first))
	}
	return req, nil
}

// accept judges the head of an answer.
func (s *stream) accept(resp *http.Response, r cas.Request, got int64) *failure {
	first, left := r.Offset+got, int64(-1)
	if r.Length > 0 {
		left = r.Length - got
	}
	ranged := first > 0 || left >= 0
	switch {
	case resp.StatusCode == http.StatusPartialContent && ranged:
		var a, b int64
		_, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-%d/", &a, &b)
		if err != nil || a != first || left >= 0 && b-a+1 != left {
			return &failure{route: s.route, err: fmt.Errorf("%w: %q", errRange, resp.Header.Get("Content-Range"))}
		}
		s.left = b - a + 1
	case resp.StatusCode == http.StatusPartialContent:
		return &failure{route: s.route, err: errRange}
	case resp.StatusCode/100 == 2:
		s.skip, s.left = first, left
	default:
		return classifyStatus(s.route, resp)
	}
	return nil
}

func (s *stream) Read(p []byte) (int, error) {
	for s.skip > 0 {
		n, err := s.read(p[:min(int64(len(p)), s.skip)])
		s.skip -= int64(n)
		if err != nil && s.skip > 0 {
			return 0, short(err)
		}
	}
	if s.left == 0 {
		return 0, io.EOF
	}
	if s.left > 0 {
		p = p[:min(int64(len(p)), s.left)]
	}
	n, err := s.read(p)
	s.c.counters.bytes.Add(int64(n))
	if s.left > 0 {
		s.left -= int64(n)
		if s.left > 0 {
			err = short(err)
		} else if n > 0 {
			err = nil
		}
	}
	return n, err
}

// drain reads a short rest, so that the connection can be used again.
func (s *stream) drain() {
	var b [4 << 10]byte
	for n := 0; n < len(b); {
		k, err := s.read(b[n:])
		if err != nil {
			return
		}
		n += k
	}
}

func short(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// read reads once, with a watch on the time. Only time spent waiting counts: a slow reader is no slow server.
func (s *stream) read(p []byte) (int, error) {
	if s.timer == nil {
		return s.rc.Read(p)
	}
	begin := time.Now()
	s.timer.Reset(s.silence)
	n, err := s.rc.Read(p)
	s.timer.Stop()
	s.spent += time.Since(begin)
	s.arrived += int64(n)
	if s.spent >= s.silence {
		if err == nil && s.arrived < s.tooFew(s.spent) {
			s.cancel(errSlow)
			err = errSlow
		}
		s.spent, s.arrived = 0, 0
	}
	return n, err
}

// tooFew is the number of bytes that have to arrive in a time.
func (s *stream) tooFew(d time.Duration) int64 {
	return int64(d.Seconds() * float64(max(s.c.cfg.LowSpeedLimit, 0)))
}

// failure says why reading ended.
func (s *stream) failure(err error) *failure {
	if cause := context.Cause(s.ctx); cause != nil {
		err = cause
	}
	if s.route.host.file != "" {
		return &failure{route: s.route, err: err}
	}
	f := classifyError(s.route, err)
	if errors.Is(f.err, errSlow) {
		f.err = fmt.Errorf("%w: less than %d bytes in %v", errSlow, s.tooFew(s.silence), s.silence)
	}
	return f
}

func (s *stream) Close() error {
	if s.timer != nil {
		s.timer.Stop()
	}
	err := s.rc.Close()
	s.cancel(nil)
	return err
}

// openFile serves a request from a host that is a directory.
func (c *Client) openFile(ctx context.Context, rt route, r cas.Request, got int64) (*stream, *failure) {
	fail := func(err error) (*stream, *failure) { return nil, &failure{route: rt, err: err} }
	name := filepath.FromSlash(strings.TrimPrefix(r.Name, "/"))
	if !filepath.IsLocal(name) {
		return fail(fmt.Errorf("%q is not a path below the server", r.Name))
	}
	f, err := os.Open(filepath.Join(rt.host.file, name))
	if errors.Is(err, os.ErrNotExist) {
		err = statusError(http.StatusNotFound)
	}
	if err != nil {
		return fail(err)
	}
	if _, err := f.Seek(r.Offset+got, io.SeekStart); err != nil {
		f.Close()
		return fail(err)
	}
	s := &stream{c: c, route: rt, rc: f, left: -1}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	if r.Length > 0 {
		s.left = r.Length - got
	}
	c.worked()
	return s, nil
}
