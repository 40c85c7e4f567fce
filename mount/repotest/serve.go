package repotest

import (
	"bytes"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is a web server over a directory that counts requests and can be told
// to misbehave.
type Server struct {
	URL string // without a slash at its end; the directory's files lie right below

	dir    string
	mu     sync.Mutex
	counts map[string]int
	faults []fault
}

// Fault is how a request goes wrong. Zero fields do nothing.
type Fault struct {
	Status   int           // answered in place of the file
	Header   http.Header   // added to the answer
	Delay    time.Duration // before the answer begins
	Hang     bool          // no answer until the client gives up
	Reset    bool          // connection closed without an answer
	Truncate int64         // connection closed after that many bytes of the body
	Flip     int64         // the byte at this offset, from 1, is wrong
	Times    int           // how many requests meet it, 0 for all
}

type fault struct {
	pattern string
	Fault
	left int
}

// Serve serves dir on a port of the loopback interface until the test ends.
func Serve(t testing.TB, dir string) *Server {
	t.Helper()
	s := &Server{dir: dir, counts: map[string]int{}}
	h := httptest.NewServer(s)
	t.Cleanup(func() {
		h.CloseClientConnections() // hanging handlers wait for their clients
		h.Close()
	})
	s.URL = h.URL
	return s
}

// Fail makes requests for the names that match pattern (see path.Match; "*"
// matches all) meet the fault. Later faults go before earlier ones.
func (s *Server) Fail(pattern string, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, fault{pattern, f, f.Times})
}

// Heal takes all faults away.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Count is the number of requests for a name such as "data/ab/cd…C".
func (s *Server) Count(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[name]
}

// Counts are the requests so far, by name.
func (s *Server) Counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counts)
}

// meet notes a request and finds the fault that it meets.
func (s *Server) meet(name string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[name]++
	for i := len(s.faults) - 1; i >= 0; i-- {
		f := &s.faults[i]
		match, err := path.Match(f.pattern, name)
		if err != nil || !match && f.pattern != "*" || f.Times > 0 && f.left == 0 {
			continue
		}
		f.left--
		return f.Fault
	}
	return Fault{}
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	f := s.meet(name)
	if f.Hang {
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-r.Context().Done():
		}
	}
	maps.Copy(w.Header(), f.Header)
	switch {
	case f.Reset:
		panic(http.ErrAbortHandler)
	case f.Status != 0:
		http.Error(w, http.StatusText(f.Status), f.Status)
	default:
		s.send(w, r, name, f)
	}
}

// send answers with a file, or what the fault leaves of it.
func (s *Server) send(w http.ResponseWriter, r *http.Request, name string, f Fault) {
	if !fs.ValidPath(name) {
		http.NotFound(w, r)
		return
	}
	body, err := os.ReadFile(filepath.Join(s.dir, filepath.FromSlash(name)))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	if f.Flip > 0 && f.Flip <= int64(len(body)) {
		body[f.Flip-1] ^= 0x40
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if f.Truncate > 0 {
		w = &short{ResponseWriter: w, left: f.Truncate}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// short breaks the connection when its bytes are used up; the announced length
// stays that of the whole body.
type short struct {
	http.ResponseWriter
	left int64
}

func (s *short) Write(p []byte) (int, error) {
	if int64(len(p)) <= s.left {
		s.left -= int64(len(p))
		return s.ResponseWriter.Write(p)
	}
	s.ResponseWriter.Write(p[:s.left])
	http.NewResponseController(s.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}
