package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/google/go-containerregistry/pkg/compression"
)

// realPrivate takes an image from a registry that asks for a password, which docker login has noted.
func realPrivate(t *testing.T, s *site) {
	realSmall(t, s, "team/private:1", "private\n")
	name := s.private + "/team/private:1"
	before := s.revision(t)
	if _, _, stderr := s.fails(t, filepath.Join(s.bin, "flathub"), "convert", realFQRN, name); !strings.Contains(stderr, "UNAUTHORIZED") || !strings.Contains(stderr, "docker login "+s.private) {
		t.Errorf("without a password: %s", stderr)
	}
	if now := s.revision(t); now != before {
		t.Errorf("revision %d after a failure, %d before", now, before)
	}
	auth := base64.StdEncoding.EncodeToString([]byte("user:" + secret))
	s.write(t, filepath.Join(s.dir, "docker", "config.json"), fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, s.private, auth))
	if c := s.convert(t, name); c.Revision != before+1 {
		t.Errorf("with the password: %+v", c)
	}
}

// behind is the registry seen through a handler of the test's own; around may answer itself.
func (s *site) behind(t *testing.T, around func(w http.ResponseWriter, r *http.Request, next http.Handler)) (host string) {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s.registry})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { around(w, r, proxy) }))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return strings.TrimPrefix(server.URL, "http://")
}

// realTokens asks a registry that wants a token of its own server, by way of a mirror's name.
func realTokens(t *testing.T, s *site) {
	realSmall(t, s, "team/token:1", "token\n")
	var granted atomic.Int32
	host := s.behind(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		switch {
		case r.URL.Path == "/token":
			granted.Add(1)
			io.WriteString(w, `{"token": "let me in"}`)
		case r.Header.Get("Authorization") != "Bearer let me in":
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="registry"`, r.Host))
			w.WriteHeader(http.StatusUnauthorized)
		default:
			r.Header.Del("Authorization")
			next.ServeHTTP(w, r)
		}
	})
	c := s.convert(t, "docker://images.example.org/team/token:1", "--mirror", "images.example.org="+host, "--plain-http")
	if len(c.Images) != 1 || c.Images[0].Image != "images.example.org/team/token:1" || granted.Load() == 0 {
		t.Errorf("%+v with %d tokens", c, granted.Load())
	}
	// A mirror that is dead is passed by: the registry itself is asked.
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	realSmall(t, s, "team/token:2", "another\n")
	c = s.convert(t, s.registry+"/team/token:2", "--mirror", s.registry+"="+strings.TrimPrefix(dead.URL, "http://"))
	if c.Images[0].Unchanged {
		t.Errorf("%+v", c)
	}
}

// flipper changes one byte in the middle of what it passes on.
type flipper struct {
	http.ResponseWriter
	at, n int
}

func (f *flipper) Write(p []byte) (int, error) {
	if i := f.at - f.n; i >= 0 && i < len(p) {
		p = append([]byte(nil), p...)
		p[i] ^= 0x40
	}
	f.n += len(p)
	return f.ResponseWriter.Write(p)
}

func realFlipped(t *testing.T, s *site) {
	img := realImage(t, "flipped", "amd64", realLayer(t, realTar(t, realEntry{"large", 0, 0o644, strings.Repeat("flipped ", 1<<15), nil}), compression.None), realLayer(t, realTar(t, realEntry{"x", 0, 0o644, "x", nil}), compression.GZip))
	s.push(t, "team/flipped:1", img)
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	var target atomic.Value
	host := s.behind(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/"+target.Load().(string)) {
			w = &flipper{ResponseWriter: w, at: 40}
		}
		next.ServeHTTP(w, r)
	})
	before := s.revision(t)
	for what, digest := range map[string]string{
		"the configuration": manifest.Config.Digest.String(), "the first layer": manifest.Layers[0].Digest.String(), "the second layer": manifest.Layers[1].Digest.String(),
	} {
		target.Store(digest)
		code, _, stderr := s.fails(t, filepath.Join(s.bin, "flathub"), "convert", realFQRN, host+"/team/flipped:1")
		if code != 1 || !strings.Contains(stderr, "flathub: ") {
			t.Errorf("%s: exit code %d: %s", what, code, stderr)
		}
		if now := s.revision(t); now != before {
			t.Fatalf("%s: revision %d was published", what, now)
		}
	}
	target.Store("nothing")
	if c := s.convert(t, host+"/team/flipped:1"); c.Images[0].NewLayers != 2 {
		t.Errorf("with the right bytes: %+v", c)
	}
}

// realInterrupted stops flathub by Ctrl-C in the middle of a layer.
func realInterrupted(t *testing.T, s *site) {
	s.push(t, "team/slow:1", realImage(t, "slow", "amd64", realLayer(t, realTar(t, realEntry{"large", 0, 0o644, strings.Repeat("slow ", 1<<16), nil}), compression.None)))
	var stalls atomic.Bool
	stalls.Store(true)
	reached := make(chan struct{}, 10)
	host := s.behind(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if stalls.Load() && strings.Contains(r.URL.Path, "/blobs/") {
			next.ServeHTTP(&staller{w, r, reached}, r)
			return
		}
		next.ServeHTTP(w, r)
	})
	before := s.revision(t)
	cmd := s.command(filepath.Join(s.bin, "flathub"), "convert", realFQRN, host+"/team/slow:1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-reached:
	case <-time.After(realPatience):
		t.Error("no blob is asked for")
	}
	cmd.Process.Signal(unix.SIGINT)
	kill := time.AfterFunc(realPatience, func() { cmd.Process.Kill() })
	cmd.Wait()
	kill.Stop()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
	if now := s.revision(t); now != before {
		t.Errorf("revision %d was published", now)
	}
	stalls.Store(false)
	if c := s.convert(t, host+"/team/slow:1"); c.Revision != before+1 {
		t.Errorf("the next run: %+v", c)
	}
	s.flathub(t, "check", realFQRN)
}

// staller lets a kilobyte of a large answer pass and then waits until the client goes.
type staller struct {
	http.ResponseWriter
	r       *http.Request
	reached chan<- struct{}
}

func (s *staller) Write(p []byte) (int, error) {
	if len(p) < 20<<10 {
		return s.ResponseWriter.Write(p)
	}
	n, _ := s.ResponseWriter.Write(p[:1<<10])
	http.NewResponseController(s.ResponseWriter).Flush()
	select {
	case s.reached <- struct{}{}:
	default:
	}
	<-s.r.Context().Done()
	return n, s.r.Context().Err()
}
