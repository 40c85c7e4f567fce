package session_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/repotest"
)

// The suite of faults: a container runs a checksum loop over files that are not in the cache yet, a fault begins, stays for a
// while and ends. Whatever happens, the reader sees the right bytes or EIO, and never waits for ever; when the fault is
// over, all that it could not read becomes readable. FLATRUN_FAULTS=long lets the faults last as long as real ones, with the
// time-outs that users have; go test -v prints the table.

// faultSettings make the client as impatient as the short form needs.
const faultSettings = "network: {timeout: 2, timeout_direct: 2, deadline: 5, patience: 1, max_retries: 1, backoff_init: 20ms, backoff_max: 200ms, proxy_reset: 3, host_reset: 3}"

func longFaults() bool { return os.Getenv("FLATRUN_FAULTS") == "long" }

// faultLasts is how long a fault stays.
func faultLasts(fault string) time.Duration {
	switch {
	case longFaults() && fault == "stall":
		return 30 * time.Second
	case longFaults():
		return 10 * time.Second
	}
	return time.Second
}

const (
	faultFiles  = 24 // for each fault: a few before it, most of them during it, a few after it
	faultBefore = 3
	faultAfter  = 4
	faultSize   = 60_000
)

// faultContent is a file of the tree, which does not compress well.
func faultContent(fault string, i int) string {
	var b strings.Builder
	for sum := sha256.Sum256(fmt.Append(nil, fault, i)); b.Len() < faultSize; sum = sha256.Sum256(sum[:]) {
		fmt.Fprintf(&b, "%x", sum)
	}
	return b.String()[:faultSize]
}

func faultTree(names []string) []repotest.File {
	var tree []repotest.File
	for _, name := range names {
		for i := range faultFiles {
			tree = append(tree, repotest.File{Path: fmt.Sprintf("%s/%s/%02d", faultImage, name, i), Content: faultContent(name, i)})
		}
	}
	return tree
}

const faultImage = "/image"

// site is what serves the repository, and can be made to fail.
type site struct {
	t      *testing.T
	repo   *repotest.Repo
	server *repotest.Server
	front  *stoppable
	world  *world
}

// stoppable is a web server that can be down for a while.
type stoppable struct {
	t       *testing.T
	handler http.Handler
	addr    string
	server  *http.Server
}

func newStoppable(t *testing.T, h http.Handler) *stoppable {
	s := &stoppable{t: t, handler: h, addr: "127.0.0.1:0"}
	s.start()
	s.keepPort()
	t.Cleanup(func() { s.stop() })
	return s
}

// start listens, where it did before if it did.
func (s *stoppable) start() {
	shared := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		return errors.Join(raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }), err)
	}}
	l, err := shared.Listen(s.t.Context(), "tcp", s.addr)
	if err != nil {
		s.t.Error(err)
		return
	}
	s.addr = l.Addr().String()
	s.server = &http.Server{Handler: s.handler}
	go s.server.Serve(l)
}

// keepPort binds a socket that never listens to the port, so that nobody gets it while the server is down.
func (s *stoppable) keepPort() {
	addr, err := net.ResolveTCPAddr("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { unix.Close(fd) })
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	if err = errors.Join(err, unix.Bind(fd, &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte{127, 0, 0, 1}})); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stoppable) stop() { s.server.Close() }

// proxy forwards like a squid.
func proxy(t *testing.T) *httptest.Server {
	forward := &http.Transport{}
	t.Cleanup(forward.CloseIdleConnections)
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := r.Clone(r.Context())
		out.RequestURI = ""
		resp, err := forward.RoundTrip(out)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
		io.Copy(w, resp.Body)
	}))
	t.Cleanup(p.Close)
	return p
}

// stored applies change to the objects of a fault's files as the server has them.
func (s *site) stored(fault string, change func(path string)) {
	for i := range faultFiles {
		h := s.repo.Put(s.t, []byte(faultContent(fault, i)), cas.FileSuffix, cas.Zlib)
		change(s.repo.Path(cas.Object{Hash: h}))
	}
}

// faultCase is one row of the table.
type faultCase struct {
	name       string
	begin, end func(s *site, name string)
}

func ordered(f repotest.Fault) func(*site, string) {
	return func(s *site, _ string) { s.server.Fail("data/*/*", f) }
}

func heal(s *site, _ string) { s.server.Heal() }

var faultCases = []faultCase{
	{"server-down", func(s *site, _ string) { s.front.stop() }, func(s *site, _ string) { s.front.start() }},
	{"connection-cut", ordered(repotest.Fault{Truncate: 20000}), heal},
	{"connection-reset", ordered(repotest.Fault{Reset: true}), heal},
	{"truncated-object", func(s *site, name string) {
		s.stored(name, func(path string) {
			if err := os.Truncate(path, 10000); err != nil {
				s.t.Error(err)
			}
		})
	}, func(s *site, name string) { s.stored(name, func(string) {}) }}, // Put has written it anew
	{"flipped-bit", ordered(repotest.Fault{Flip: 5000}), heal},
	{"status-500", ordered(repotest.Fault{Status: 500}), heal},
	{"status-404", ordered(repotest.Fault{Status: 404}), heal},
	{"status-429", ordered(repotest.Fault{Status: 429}), heal},
	{"stall", ordered(repotest.Fault{Hang: true}), heal},
	{"cache-removed", func(s *site, _ string) {
		if err := os.RemoveAll(s.world.cache); err != nil {
			s.t.Log(err) // it is filled at the same time
		}
	}, func(*site, string) {}},
	{"proxy-down", nil, nil},
	{"server-killed", func(s *site, _ string) {
		if err := unix.Kill(s.world.server(), unix.SIGKILL); err != nil {
			s.t.Error(err)
		}
	}, func(*site, string) {}},
}

// outcome is what the reader saw.
type outcome struct {
	fault     string
	during    int // files read while it lasted
	errors    map[string]int
	longest   time.Duration // a read took
	recovered time.Duration // from the fault's end to the next file read
}

// reader reads the files of a fault in turn, each until it is right.
type reader struct {
	t     *testing.T
	sum   func(file string) (sum string, err error) // of the image, hexadecimal
	fault string

	mu      sync.Mutex
	next    int // file to read
	limit   int // and to wait before
	outcome outcome
	ended   time.Time // of the fault
}

// run reads until the last file.
func (r *reader) run() {
	for {
		r.mu.Lock()
		i, wait := r.next, r.next >= r.limit
		r.mu.Unlock()
		if i == faultFiles {
			return
		}
		if wait {
			time.Sleep(5 * time.Millisecond) // until the fault begins, or ends
			continue
		}
		began := time.Now()
		sum, err := r.sum(fmt.Sprintf("/%s/%02d", r.fault, i))
		took := time.Since(began)
		if err != nil {
			time.Sleep(20 * time.Millisecond) // as a loop in a shell would need
		}
		r.note(i, sum, err, took)
	}
}

func (r *reader) note(i int, sum string, err error, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := &r.outcome
	o.longest = max(o.longest, took)
	if err != nil {
		if !errors.Is(err, syscall.EIO) {
			r.t.Errorf("%s: file %d: %v, want EIO", r.fault, i, err)
		}
		o.errors[err.Error()]++
		return
	}
	if want := fmt.Sprintf("%x", sha256.Sum256([]byte(faultContent(r.fault, i)))); sum != want {
		r.t.Errorf("%s: file %d: WRONG BYTES", r.fault, i)
	}
	r.next++
	switch {
	case i < faultBefore:
	case r.ended.IsZero():
		o.during++
	case o.recovered == 0:
		o.recovered = time.Since(r.ended)
	}
}

// atLeast waits until so many files were read.
func (r *reader) atLeast(n int) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%s: %d files are read (of %d)", r.fault, n, faultFiles), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.next >= n
	})
}

func (r *reader) allow(limit int, ended time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.limit, r.ended = limit, ended
}

// suffer lets a reader meet the fault.
func suffer(t *testing.T, sum func(string) (string, error), fault string, begin, end func()) outcome {
	r := &reader{t: t, sum: sum, fault: fault, limit: faultBefore, outcome: outcome{fault: fault, errors: map[string]int{}}}
	done := make(chan struct{})
	go func() { defer close(done); r.run() }()
	r.atLeast(faultBefore)
	begin()
	r.allow(faultFiles-faultAfter, time.Time{})
	time.Sleep(faultLasts(fault)) // this is how long the fault is there, not how long something may take
	ended := time.Now()
	r.allow(faultFiles-faultAfter, ended)
	end()
	r.allow(faultFiles, ended)
	r.atLeast(faultFiles)
	<-done
	return r.outcome
}

func TestFaults(t *testing.T) {
	needFUSE(t)
	busybox := busyboxImage(t)
	var names []string
	for _, c := range faultCases {
		names = append(names, c.name)
	}
	settings := faultSettings
	if longFaults() {
		settings = ""
	}
	repo := repotest.Build(t, repotest.Spec{Tree: append(faultTree(names), busybox...)})
	var table []outcome
	for _, c := range faultCases {
		t.Run(c.name, func(t *testing.T) {
			s := &site{t: t, repo: repo, server: repotest.Serve(t, repo.Dir)}
			s.front = newStoppable(t, s.server)
			server, extra, begin, end := "http://"+s.front.addr, "", func() { c.begin(s, c.name) }, func() { c.end(s, c.name) }
			if c.begin == nil { // the second proxy group takes over
				first, second := proxy(t), proxy(t)
				extra = fmt.Sprintf("\nproxies: %q", strings.TrimPrefix(first.URL, "http://")+";"+strings.TrimPrefix(second.URL, "http://"))
				begin, end = first.Close, func() {}
			}
			line := repository(server, repo.KeyPath) + extra
			s.world = newFaultWorld(t, repo.FQRN, line, settings)
			if c.name == "server-killed" && !s.world.resumable() {
				t.Skip("this kernel does not send requests again")
			}
			table = append(table, suffer(t, container(t, repo.FQRN), c.name, begin, end))
		})
	}
	printOutcomes(t, table)
}

// newFaultWorld is a world in which the line about proxies may be the case's own.
func newFaultWorld(t *testing.T, fqrn, lines, settings string) *world {
	w := newWorld(t, map[string]string{fqrn: lines}, settings)
	text, err := os.ReadFile(w.config)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(text), "proxies:") > 1 {
		text = []byte(strings.Replace(string(text), "    proxies: DIRECT\n", "", 1))
	}
	if err := os.WriteFile(w.config, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return w
}

func printOutcomes(t *testing.T, table []outcome) {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "fault\tlasts\tfiles read meanwhile\tthe container saw\tlongest read\ttime to recover")
	for _, o := range table {
		seen := "right bytes"
		for text, n := range o.errors {
			seen += fmt.Sprintf(", %d x %s", n, text)
		}
		fmt.Fprintf(w, "%s\t%s\t%d of %d\t%s\t%s\t%s\n", o.fault, faultLasts(o.fault), o.during, faultFiles-faultBefore-faultAfter, seen,
			o.longest.Round(time.Millisecond), o.recovered.Round(time.Millisecond))
	}
	w.Flush()
	t.Log("\n" + b.String())
}

// A cache whose disk is full serves all the same, and keeps objects again when there is room. The disk is a small tmpfs in
// a mount namespace, where the mount and its reader live too.
func TestFaultDiskFull(t *testing.T) {
	needFusermount(t)
	repo := repotest.Build(t, repotest.Spec{Tree: faultTree([]string{"full"})})
	server := repotest.Serve(t, repo.Dir)
	w := newWorld(t, map[string]string{repo.FQRN: repository(server.URL, repo.KeyPath)}, "")
	dir := t.TempDir()
	const script = `set -e
mount -t tmpfs -o size=$SIZE none "$CACHE" || exit 77
"$PROGRAM" mount "$FQRN" "$DIR"
cd "$DIR/image/full"
sha256sum 0* 10 11 12 13 14 15
echo full: $(find "$CACHE"/?? -type f | wc -l)
mount -o remount,size=20m none "$CACHE"
sha256sum 1[6-9] 2*
echo roomy: $(find "$CACHE"/?? -type f | wc -l)
cd /
"$PROGRAM" umount "$DIR"`
	cmd := exec.Command("unshare", "--user", "--map-root-user", "--mount", "--propagation", "private", "sh", "-c", script)
	// Room for the directories and the catalog, and for a few of the files.
	cmd.Env = append(os.Environ(), "SIZE=400k", "CACHE="+w.cache, "FQRN="+repo.FQRN, "DIR="+dir, "PROGRAM="+program(t))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 77 {
		t.Skipf("no tmpfs in a user namespace here: %s", out)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var want strings.Builder
	for i := range faultFiles {
		fmt.Fprintf(&want, "%x  %02d\n", sha256.Sum256([]byte(faultContent("full", i))), i)
	}
	var got strings.Builder
	var full, roomy int
	for line := range strings.Lines(string(out)) {
		if n, _ := fmt.Sscanf(line, "full: %d", &full); n == 1 {
			continue
		}
		if n, _ := fmt.Sscanf(line, "roomy: %d", &roomy); n == 1 {
			continue
		}
		got.WriteString(line)
	}
	if got.String() != want.String() {
		t.Errorf("the reader saw\n%s", out)
	}
	if full >= 16 || roomy <= full {
		t.Errorf("%d objects were in the full cache, %d when it had room", full, roomy)
	}
	t.Logf("cache disk full: 16 of 16 files right, %d objects kept; then 8 of 8 files right, %d kept", full, roomy)
}
