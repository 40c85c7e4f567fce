package repotest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/repo"
)

func get(url, bytes string) (status int, body string, err error) {
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return 0, "", err
	}
	if bytes != "" {
		r.Header.Set("Range", "bytes="+bytes)
	}
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	a, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	return a.StatusCode, string(b), err
}

func TestServe(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "data/ab/cd"} {
		write(t, filepath.Join(dir, name), []byte("0123456789"))
	}
	s := Serve(t, dir)
	if code, body, err := get(s.URL+"/data/ab/cd", ""); code != 200 || body != "0123456789" || err != nil {
		t.Errorf("a file: %d %q %v", code, body, err)
	}
	if code, body, err := get(s.URL+"/a", "3-5"); code != 206 || body != "345" || err != nil {
		t.Errorf("a range: %d %q %v", code, body, err)
	}
	for _, name := range []string{"/none", "/", "/data", "/../" + filepath.Base(dir) + "/a", "/a/x"} {
		if code, _, err := get(s.URL+name, ""); code != 404 || err != nil {
			t.Errorf("%s: %d %v", name, code, err)
		}
	}
	if s.Count("data/ab/cd") != 1 || s.Count("a") != 1 || s.Counts()["none"] != 1 {
		t.Errorf("counts %v", s.Counts())
	}

	s.Fail("a", Fault{Status: 503, Header: http.Header{"X-Squid-Error": {"x"}}, Times: 1})
	if code, _, err := get(s.URL+"/a", ""); code != 503 || err != nil {
		t.Errorf("a status: %d %v", code, err)
	}
	if code, _, err := get(s.URL+"/a", ""); code != 200 || err != nil {
		t.Errorf("a fault met once too often: %d %v", code, err)
	}
	s.Fail("data/*/*", Fault{Flip: 1})
	if _, body, err := get(s.URL+"/data/ab/cd", ""); body != "p123456789" || err != nil {
		t.Errorf("a flipped byte: %q %v", body, err)
	}
	s.Fail("*", Fault{Truncate: 4})
	if _, body, err := get(s.URL+"/data/ab/cd", ""); body != "0123" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a cut answer: %q %v", body, err)
	}
	s.Fail("*", Fault{Reset: true})
	if _, _, err := get(s.URL+"/a", ""); err == nil {
		t.Error("a reset connection is no error")
	}
	s.Heal()
	if code, _, err := get(s.URL+"/a", ""); code != 200 || err != nil {
		t.Errorf("healed: %d %v", code, err)
	}
}

// TestHang: a request without an answer ends with its client, and the server with
// the test.
func TestHang(t *testing.T) {
	s := Serve(t, t.TempDir())
	s.Fail("*", Fault{Hang: true})
	s.Fail("late", Fault{Delay: time.Hour})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	for _, name := range []string{"/x", "/late"} {
		r, err := http.NewRequestWithContext(ctx, "GET", s.URL+name, nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := http.DefaultClient.Do(r)
			done <- err
		}()
	}
	for deadline := time.Now().Add(time.Minute); s.Count("x") == 0 || s.Count("late") == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no request arrived")
		}
	}
	cancel()
	for range 2 {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	}
}

// TestBuild: what it makes is what a real repository is.
func TestBuild(t *testing.T) {
	r := Build(t, Spec{FQRN: "x.example.org", Tag: "one", Tree: []File{{Path: "/d/f", Content: "hello", Chunk: 2, Perm: 0o4755, Mtime: -7, Nsec: 5}}})
	r.Publish(t, Rev{Tree: []File{{Path: "/d", Kind: Dir, Nested: true}, {Path: "/d/n", Kind: Char, Rdev: 0x103}}})
	ctx := context.Background()
	cfg := r.Config(t)
	cfg.Tag = "one"
	v := Open(t, cfg).Head()
	n, err := v.Lookup(ctx, "/d/f")
	if err != nil {
		t.Fatal(err)
	}
	if e := n.Entry; e.Mode != 0o104755 || e.Mtime != -7 || e.MtimeNsec != 5 || e.Size != 5 {
		t.Errorf("the file is %+v", e)
	}
	if n, err = Open(t, r.Config(t)).Head().Lookup(ctx, "/d/n"); err != nil || n.Entry.Rdev() != 0x103 || n.Catalog.Prefix() != "/d" {
		t.Errorf("the device is %+v, %v", n, err)
	}
	if m := Open(t, r.Config(t)).Head().Manifest(); m.Revision != 2 || m.Reflog.IsZero() || m.Name != "x.example.org" {
		t.Errorf("the manifest is %+v", m)
	}
	if _, err := os.Stat(filepath.Join(r.Dir, ".cvmfsreflog")); err != nil {
		t.Error(err)
	}
	r.SignManifest(t, func(m *repo.Manifest) { m.Name = "y" })
	if _, err := repo.Open(ctx, r.Uncached(t)); err == nil || !strings.Contains(err.Error(), `"y"`) {
		t.Errorf("a changed manifest: %v", err)
	}
}

func TestServedRepository(t *testing.T) {
	r := Build(t, Spec{Algorithm: cas.RMD160, Tree: []File{{Path: "/f", Content: "x"}}})
	s := Serve(t, r.Dir)
	code, body, err := get(s.URL+"/"+repo.ManifestName, "")
	if err != nil || code != 200 {
		t.Fatal(code, err)
	}
	m, err := repo.ParseManifest([]byte(body))
	if err != nil || m.Root != r.Manifest.Root {
		t.Errorf("%+v, %v", m, err)
	}
}
