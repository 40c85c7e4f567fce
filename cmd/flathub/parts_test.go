package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/unpacked"
	"github.com/flatrun/flatrun/unpacked/convert"
)

// lockedBuffer is a terminal that several goroutines write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestConfigDir(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		root bool
		want string
	}{
		{map[string]string{"FLATHUB_CONFIG": "/x/y", "HOME": "/home/u"}, true, "/x/y"},
		{map[string]string{"HOME": "/home/u"}, true, "/etc/flathub"},
		{map[string]string{"HOME": "/home/u"}, false, "/home/u/.config/flathub"},
		{map[string]string{"HOME": "/home/u", "XDG_CONFIG_HOME": "/c"}, false, "/c/flathub"},
		{nil, false, ""},
	} {
		a := &app{root: c.root, env: func(k string) string { return c.env[k] }}
		got, err := a.configDir()
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%v, root %v: %q, %v, want %q", c.env, c.root, got, err, c.want)
		}
	}
}

// TestPlaces: flags win over what init noted, and storage and keys can be given
// without any configuration.
func TestPlaces(t *testing.T) {
	h := newHub(t)
	keys := filepath.Join(h.dir, "elsewhere")
	other := "other.example.org"
	h.must("init", other, "--storage", filepath.Join(h.dir, "o"), "--keys", keys, "--hash", "shake128", "--compression", "none")
	h.must("check", other)
	if code := h.run("init", other, "--storage", filepath.Join(h.dir, "another")); code != exitFailed || !strings.Contains(h.err.String(), "it was made in "+filepath.Join(h.dir, "o")) {
		t.Errorf("init of the same name elsewhere: exit code %d: %s", code, h.err.String())
	}
	if err := os.Remove(filepath.Join(h.dir, "config", other+".json")); err != nil {
		t.Fatal(err)
	}
	if code := h.run("info", other); code != exitFailed {
		t.Errorf("without configuration: exit code %d", code)
	}
	if got := h.must("info", other, "--storage", filepath.Join(h.dir, "o"), "--keys", keys); !strings.Contains(got, "-shake128") {
		t.Errorf("info: %s", got)
	}
	if code := h.run("info", fqrn, "--keys", keys); code != exitFailed || !strings.Contains(h.err.String(), fqrn+".pub") {
		t.Errorf("with the wrong keys: exit code %d: %s", code, h.err.String())
	}
	bad := filepath.Join(h.dir, "config", "bad.example.org.json")
	if err := os.WriteFile(bad, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code := h.run("info", "bad.example.org"); code != exitFailed || !strings.Contains(h.err.String(), bad) {
		t.Errorf("broken configuration: exit code %d: %s", code, h.err.String())
	}
	if got := h.must("info"); strings.Contains(got, "bad") || !strings.Contains(got, fqrn) {
		t.Errorf("list with a broken configuration: %q", got)
	}
}

func TestSplitURL(t *testing.T) {
	data := "data/ab/" + strings.Repeat("c", 38)
	for _, c := range []struct{ url, fqrn, name string }{
		{"/a.b/.cvmfspublished", "a.b", ".cvmfspublished"},
		{"/cvmfs/a.b/" + data, "a.b", data},
		{"/a.b//data/ab//cd", "a.b", "data/ab/cd"},
		{"/.cvmfswhitelist", "", ".cvmfswhitelist"},
		{"/" + data, "", data},
	} {
		fqrn, name, ok := splitURL(c.url)
		if fqrn != c.fqrn || name != c.name || !ok {
			t.Errorf("splitURL(%q) = %q, %q, %v", c.url, fqrn, name, ok)
		}
	}
	for _, url := range []string{"", "/", "/a.b", "/a.b/", "/a.b/etc/passwd", "/a.b/data/txn/x", "/a.b/data/a/b/c", "/x/.cvmfspublished", "/cvmfs/.cvmfsx/y", "/a.b/../c"} {
		if fqrn, name, ok := splitURL(url); ok {
			t.Errorf("splitURL(%q) = %q, %q", url, fqrn, name)
		}
	}
}

// FuzzSplitURL: no URL leads to a name outside the files of a repository.
func FuzzSplitURL(f *testing.F) {
	f.Add("/cvmfs/a.b/../../etc/passwd")
	f.Add("/a.b/data/ab/../../x")
	f.Fuzz(func(t *testing.T, url string) {
		fqrn, name, ok := splitURL(url)
		if !ok {
			return
		}
		if !filepath.IsLocal(name) || strings.Contains(name, "..") && strings.Contains(name, "/../") || strings.ContainsAny(fqrn, "/\x00") {
			t.Errorf("splitURL(%q) = %q, %q", url, fqrn, name)
		}
	})
}

func TestParseOwner(t *testing.T) {
	set, err := parseOwner("7:8")
	if err != nil {
		t.Fatal(err)
	}
	var e catalog.Entry
	if set(&e); e.UID != 7 || e.GID != 8 {
		t.Errorf("owner %d:%d", e.UID, e.GID)
	}
	for _, s := range []string{"7", "a:b", ":", "-1:2", "1:2:3", "4294967296:0"} {
		if _, err := parseOwner(s); err == nil {
			t.Errorf("parseOwner(%q) is content", s)
		}
	}
}

// TestProgress: bars are for terminals, nothing is printed where that is not
// wanted, and nothing hangs when meters end twice.
func TestProgress(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*app)
		bars bool
	}{
		{"terminal", func(a *app) { a.terminal = true }, true}, {"no terminal", func(*app) {}, false},
		{"quiet", func(a *app) { a.terminal, a.quiet = true, true }, false}, {"json", func(a *app) { a.terminal, a.json = true, true }, false},
	} {
		var out lockedBuffer
		a := &app{err: &out}
		c.edit(a)
		p := a.progress()
		if (p.bars != nil) != c.bars {
			t.Errorf("%s: bars %v", c.name, p.bars != nil)
		}
		b := p.bytes("layer", 100)
		n := p.count("check", "entries")
		f := p.follow("read", 0, func() int64 { return 42 })
		b.set(50)
		n.set(3)
		for _, m := range []*meter{b, n, f, f} {
			m.end()
		}
		p.wait()
		if !c.bars && out.String() != "" { // bars are drawn on real terminals only
			t.Errorf("%s: printed %q", c.name, out.String())
		}
	}
}

// TestLayerMeters: one meter is for all layers that were read, from the second on.
func TestLayerMeters(t *testing.T) {
	a := &app{err: &lockedBuffer{}, terminal: true}
	p := a.progress()
	l := a.layerMeters(p)
	one, two, had := unpacked.Sum([]byte("1")), unpacked.Sum([]byte("2")), unpacked.Sum([]byte("3"))
	l.update(convert.Progress{Layer: had, Done: true})
	l.update(convert.Progress{Layer: one, Size: 100, Read: 10})
	if l.all != nil {
		t.Error("one layer is two bars")
	}
	for _, n := range []convert.Progress{{Layer: two, Size: 50, Read: 20}, {Layer: one, Size: 100, Read: 100, Done: true}, {Layer: one, Size: 100, Read: 100, Done: true}} {
		l.update(n)
	}
	if l.all == nil || l.size != 150 || l.all.value.Load() != 120 || len(l.meters) != 2 {
		t.Errorf("%d of %d bytes of %d layers", l.sum, l.size, len(l.meters))
	}
	l.end()
	p.wait()
}
