package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const fqrn = "test.example.org"

// hub is the program with a configuration and storage of its own.
type hub struct {
	t        testing.TB
	dir      string
	out, err bytes.Buffer
	in       io.Reader
}

func newHub(t testing.TB) *hub {
	t.Helper()
	h := &hub{t: t, dir: t.TempDir()}
	h.must("init", fqrn, "--storage", filepath.Join(h.dir, "srv", fqrn))
	return h
}

// run runs the program and returns its exit code.
func (h *hub) run(args ...string) int {
	h.t.Helper()
	h.out.Reset()
	h.err.Reset()
	a := &app{out: &h.out, err: &h.err, in: h.in, env: func(k string) string {
		return map[string]string{"FLATHUB_CONFIG": filepath.Join(h.dir, "config"), "HOME": h.dir}[k]
	}}
	ctx := context.Background()
	return a.exit(ctx, a.run(ctx, args))
}

func (h *hub) must(args ...string) string {
	h.t.Helper()
	if code := h.run(args...); code != 0 {
		h.t.Fatalf("flathub %q: exit code %d: %s", args, code, h.err.String())
	}
	return h.out.String()
}

// json runs a verb with --json and decodes its answer.
func (h *hub) json(args ...string) (v map[string]any) {
	h.t.Helper()
	if err := json.Unmarshal([]byte(h.must(append(args, "--json")...)), &v); err != nil {
		h.t.Fatalf("flathub %q: %v", args, err)
	}
	return v
}

// tarOf makes an archive of files; names that end in / are directories.
func tarOf(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		name, data, _ := strings.Cut(f, "=")
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg, ModTime: time.Unix(1e9, 0)}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compress(t testing.TB, b []byte, with func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := with(&out)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(b)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestJourney goes through all verbs as a user would.
func TestJourney(t *testing.T) {
	h := newHub(t)
	archive := tarOf(t, "./", "./bin/", "./bin/tool=program", "./readme=text")
	for name, b := range map[string][]byte{
		"a.tar": archive, "a.tar.gz": compress(t, archive, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }),
		"a.tar.zst": compress(t, archive, func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }),
	} {
		if err := os.WriteFile(filepath.Join(h.dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
		h.must("publish", fqrn, "--from", filepath.Join(h.dir, name), "--to", "/sw/1", "--catalog")
		if got := h.must("diff", fqrn, "1", "trunk"); !strings.Contains(got, "+ /sw/1/bin/tool\n") {
			t.Errorf("%s: difference to revision 1: %q", name, got)
		}
	}
	h.in = bytes.NewReader(archive)
	h.must("publish", fqrn, "--from", "-", "--to", "/sw/2", "--tag", "two", "--description", "d", "--owner", "7:8")
	if got := h.must("tag", fqrn); !strings.Contains(got, "two") {
		t.Errorf("tags: %s", got)
	}
	dir := filepath.Join(h.dir, "tree")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sub", "f"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	current := filepath.Join(h.dir, "current")
	if err := os.Symlink("tree", current); err != nil {
		t.Fatal(err)
	}
	if v := h.json("publish", fqrn, "--from", current, "--to", "/tree"); v["revision"] != 6.0 || v["files"] != 2.0 { // and the markers' content
		t.Errorf("publish --json: %v", v)
	}
	h.must("tag", fqrn, "named", "--revision", "two")
	var tags []map[string]any
	if err := json.Unmarshal([]byte(h.must("tag", fqrn, "--json")), &tags); err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(tags[0])), []string{"branch", "description", "name", "revision", "root", "root_size", "timestamp"}; !slices.Equal(got, want) {
		t.Errorf("tag --json has %q, want %q", got, want)
	}
	h.must("tag", fqrn, "named", "--remove")
	h.must("remove", fqrn, "/sw/1")
	if got := h.must("diff", fqrn); !strings.Contains(got, "- /sw/1/readme\n") {
		t.Errorf("difference after remove: %q", got)
	}
	h.must("rollback", fqrn)
	h.must("rollback", fqrn, "two")
	if v := h.json("info", fqrn); v["revision"] != 9.0 || v["tags"] == 0.0 {
		t.Errorf("info: %v", v)
	}
	h.must("info", fqrn)
	if got := h.must("info"); !strings.Contains(got, fqrn) {
		t.Errorf("info without operand: %q", got)
	}
	h.must("resign", fqrn)
	h.must("gc", fqrn, "--keep-for", "0s", "--dry-run", "--list")
	if v := h.json("gc", fqrn, "--keep-for", "0s", "--dry-run", "--list"); float64(len(v["files"].([]any))) != v["objects"] {
		t.Errorf("the list has not each object: %v", v)
	}
	if v := h.json("gc", fqrn, "--keep-for", "0s"); v["revisions"] == 0.0 {
		t.Errorf("gc: %v", v)
	}
	h.must("check", fqrn, "--tags")
	if got := h.must("diff", fqrn, "two", "trunk"); got != "" {
		t.Errorf("difference after the rollback: %q", got)
	}
}

// TestPublishNothing has archives that are none; what is published stays.
func TestPublishNothing(t *testing.T) {
	h := newHub(t)
	archive := tarOf(t, "f=content")
	gzipped := compress(t, archive, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })
	h.in = bytes.NewReader(archive)
	h.must("publish", fqrn, "--from", "-", "--to", "/d")
	empty := compress(t, nil, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })
	for want, b := range map[string][]byte{
		"nothing came": nil, "nothing came:": empty, "cut short, or not a tar archive": []byte("a text\n"), "cut short": archive[:515], "has no end": archive[:len(archive)-1024], "cut short, or": gzipped[:len(gzipped)-20],
	} {
		h.in = bytes.NewReader(b)
		if code := h.run("publish", fqrn, "--from", "-", "--to", "/d"); code != exitFailed || !strings.Contains(h.err.String(), want) {
			t.Errorf("of %d bytes: exit code %d: %s, want %q", len(b), code, h.err.String(), want)
		}
	}
	if v := h.json("info", fqrn); v["revision"] != 2.0 {
		t.Errorf("info: %v", v)
	}
}

func TestCheckFails(t *testing.T) {
	h := newHub(t)
	h.in = bytes.NewReader(tarOf(t, "f=content"))
	h.must("publish", fqrn, "--from", "-", "--to", "/d")
	data, err := filepath.Glob(filepath.Join(h.dir, "srv", fqrn, "data", "??", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range data {
		if base := filepath.Base(f); base[len(base)-1] < 'A' || base[len(base)-1] > 'Z' {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	if code := h.run("check", fqrn); code != exitFailed || !strings.Contains(h.err.String(), "/d/f: its object") {
		t.Errorf("exit code %d: %s", code, h.err.String())
	}
	if code := h.run("check", fqrn, "--json"); code != exitFailed || !strings.Contains(h.out.String(), `"problems":["`) {
		t.Errorf("exit code %d: %s", code, h.out.String())
	}
}

func TestErrors(t *testing.T) {
	h := newHub(t)
	h.in = strings.NewReader("this is no archive, only text that is long enough to be looked at as one: " + strings.Repeat("x", 600))
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"publsh x", exitUsage, `did you mean "publish"?`},
		{"--storage x", exitUsage, "flags follow the command"},
		{"publish", exitUsage, "publish needs FQRN"},
		{"publish x.example.org --from . --to /a/../..", exitUsage, "without .."},
		{"sync --watch --interval -5s list", exitUsage, "want 0s or more"},
		{"gc --keep-for -1h x.example.org", exitUsage, "want 0s or more"},
		{"gc --keep -1 x.example.org", exitUsage, `invalid argument "-1"`},
		{"init --ttl -4m x.example.org", exitUsage, "want 0s or more"},
		{"publish " + fqrn, exitUsage, "--from"},
		{"publish " + fqrn + " --from x --to relative", exitUsage, "--to"},
		{"publish " + fqrn + " --nonsense", exitUsage, "nonsense"},
		{"publish " + fqrn + " --from /missing --to /x", exitFailed, "/missing"},
		{"publish " + fqrn + " --from - --to /x", exitFailed, "tar"},
		{"publish " + fqrn + " --from / --to /x --owner me", exitUsage, "UID:GID"},
		{"info tset.example.org", exitFailed, "did you mean " + fqrn},
		{"info UPPER", exitFailed, "lower-case"},
		{"init new.example.org", exitUsage, "--storage"},
		{"init " + fqrn + " --storage " + filepath.Join(h.dir, "srv", fqrn), exitFailed, "already"},
		{"init new.example.org --storage ftp://x/y", exitFailed, "s3://"},
		{"init new.example.org --storage " + filepath.Join(h.dir, "n") + " --hash md5", exitFailed, "sha1"},
		{"init new.example.org --storage " + filepath.Join(h.dir, "n") + " --compression lzma", exitFailed, "zlib or none"},
		{"rollback " + fqrn + " nothing", exitFailed, "nothing"},
		{"remove " + fqrn + " /nothing", exitFailed, "/nothing"},
		{"tag " + fqrn + " trunk", exitFailed, "trunk"},
		{"diff " + fqrn + " 1 2 3", exitUsage, "one operand too many"},
		{"serve --dir /missing", exitFailed, "/missing"},
		{"serve missing.example.org", exitFailed, "missing.example.org"},
		{"help nothing", exitUsage, "nothing"},
	} {
		if code := h.run(strings.Fields(c.args)...); code != c.code || !strings.Contains(h.err.String(), c.want) {
			t.Errorf("flathub %s: exit code %d, want %d: %q, want %q", c.args, code, c.code, h.err.String(), c.want)
		}
		if strings.Contains(h.err.String(), "failed to") || strings.Count(h.err.String(), "\n") > 3 {
			t.Errorf("flathub %s: %q is not in the house style", c.args, h.err.String())
		}
	}
	h.must("check", fqrn)
}

func TestInterrupted(t *testing.T) {
	h := newHub(t)
	before := h.must("info", fqrn)
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	defer w.Close()
	go func() { // half an archive, then nothing any more
		w.Write(tarOf(t, "f=content", "g=more")[:1024])
		cancel()
	}()
	a := &app{out: &h.out, err: &h.err, in: r, env: func(string) string { return filepath.Join(h.dir, "config") }}
	h.err.Reset()
	code := a.exit(ctx, a.run(ctx, []string{"publish", fqrn, "--from", "-", "--to", "/x"}))
	if code != exitInterrupted || !strings.Contains(h.err.String(), "interrupted") {
		t.Errorf("exit code %d: %s", code, h.err.String())
	}
	if after := h.must("info", fqrn); after != before {
		t.Errorf("before %s after %s", before, after)
	}
	h.must("check", fqrn)
}

func TestHelp(t *testing.T) {
	h := newHub(t)
	all := h.must("help")
	for _, v := range verbs() {
		if !strings.Contains(all, "  "+v.name+" ") {
			t.Errorf("%s is not in the help", v.name)
		}
		text := h.must(v.name, "--help")
		if text != h.must("help", v.name) && !strings.Contains(text, "--json") {
			t.Errorf("%s: two different helps", v.name)
		}
		if v.name != "version" && !strings.Contains(text, "Examples:\n  ") {
			t.Errorf("%s has no examples", v.name)
		}
		for line := range strings.Lines(v.examples) {
			if strings.TrimSpace(line) != "" && !strings.Contains(line, "flathub "+v.name) {
				t.Errorf("%s: example %q", v.name, line)
			}
		}
	}
	h.must("version")
	h.must("--version")
}

// get asks the server for a path.
func get(t *testing.T, url string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func TestServe(t *testing.T) {
	h := newHub(t)
	a := &app{env: func(string) string { return filepath.Join(h.dir, "config") }}
	srv := filepath.Join(h.dir, "srv")
	repository := filepath.Join(srv, fqrn)
	secret := filepath.Join(h.dir, "secret")
	object := "data/ab/" + strings.Repeat("c", 38)
	for name, data := range map[string]string{
		secret: "secret", filepath.Join(repository, object): "0123456789", filepath.Join(repository, "data/txn/tmp"): "unfinished",
		filepath.Join(repository, "other"): "not of the format",
	} {
		if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(secret, filepath.Join(repository, ".cvmfslink")); err != nil {
		t.Fatal(err)
	}
	whole := httptest.NewServer(&handler{app: a, dir: srv})
	defer whole.Close()
	named := httptest.NewServer(&handler{app: a, names: []string{fqrn}})
	defer named.Close()
	all := httptest.NewServer(&handler{app: a})
	defer all.Close()
	single := httptest.NewServer(&handler{app: a, dir: repository})
	defer single.Close()
	for _, base := range []string{whole.URL + "/" + fqrn, whole.URL + "/cvmfs/" + fqrn, named.URL + "/cvmfs/" + fqrn, all.URL + "/cvmfs/" + fqrn, single.URL, single.URL + "/cvmfs/" + fqrn} {
		res, body := get(t, base+"/.cvmfspublished")
		if res.StatusCode != 200 || !strings.Contains(body, "N"+fqrn) {
			t.Errorf("%s: status %d", base, res.StatusCode)
		}
		if got := res.Header.Get("Content-Type") + " " + res.Header.Get("Cache-Control"); got != "application/x-cvmfs max-age=61" {
			t.Errorf("%s: manifest has %s", base, got)
		}
		if res.Header.Get("Last-Modified") != "" {
			t.Errorf("%s: a date by which caches go wrong", base)
		}
		res, body = get(t, base+"/"+object, "Range", "bytes=2-4")
		if res.StatusCode != 206 || body != "234" || res.Header.Get("Cache-Control") != "max-age=259200" {
			t.Errorf("%s: range: status %d, %q, %v", base, res.StatusCode, body, res.Header)
		}
		for _, p := range []string{"/", "/other", "/data/", "/data/ab/", "/data/txn/tmp", "/.cvmfslink", "/../../secret", "/%2e%2e/%2e%2e/secret", "/.flathub_lock", "/.flathub_contents", "/data/ab/missing"} {
			if res, body := get(t, base+p); res.StatusCode != 404 || strings.Contains(body, "secret") {
				t.Errorf("%s%s: status %d, %q", base, p, res.StatusCode, body)
			}
		}
	}
	if res, err := http.Post(whole.URL+"/"+fqrn+"/.cvmfspublished", "text/plain", strings.NewReader("x")); err != nil || res.StatusCode != 405 {
		t.Errorf("POST: %v, %v", res, err)
	}
	// One that clients get elsewhere is not listed.
	if err := a.saveSettings(settings{FQRN: "bucket.example.org", Storage: "s3://bucket/x"}); err != nil {
		t.Fatal(err)
	}
	if err := (&handler{app: a, names: []string{"bucket.example.org"}}).check(); err == nil || !strings.Contains(err.Error(), "serve bucket.example.org: its storage s3://bucket/x") {
		t.Errorf("serve of a bucket: %v", err)
	}
	// One made later.
	later := "later.example.org"
	h.must("init", later, "--storage", filepath.Join(srv, "cvmfs", later))
	for _, base := range []string{whole.URL, all.URL} {
		if res, _ := get(t, base+"/cvmfs/"+later+"/.cvmfspublished"); res.StatusCode != 200 {
			t.Errorf("%s: a repository made later: status %d", base, res.StatusCode)
		}
		var list struct{ Repositories []struct{ Name, URL string } }
		_, body := get(t, base+listing)
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, r := range list.Repositories {
			names = append(names, r.Name)
		}
		if !slices.Equal(names, []string{later, fqrn}) {
			t.Errorf("%s lists %v", base, names)
		}
	}
	if res, _ := get(t, named.URL+"/cvmfs/"+later+"/.cvmfspublished"); res.StatusCode != 404 {
		t.Errorf("a repository that was not named: status %d", res.StatusCode)
	}
}

// TestServeVerb starts and stops the server by its verb.
func TestServeVerb(t *testing.T) {
	h := newHub(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a := &app{out: io.Discard, err: io.Discard, env: func(string) string { return filepath.Join(h.dir, "config") }}
	port := filepath.Join(h.dir, "port")
	ended := make(chan error, 1)
	go func() { ended <- a.run(ctx, []string{"serve", "--listen", "127.0.0.1:0", "--port-file", port}) }()
	var number []byte
	for deadline := time.Now().Add(time.Minute); len(number) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no port file after a minute")
		}
		number, _ = os.ReadFile(port)
	}
	if res, _ := get(t, "http://127.0.0.1:"+strings.TrimSpace(string(number))+"/cvmfs/"+fqrn+"/.cvmfspublished"); res.StatusCode != 200 {
		t.Errorf("status %d", res.StatusCode)
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
}
