package repo_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/mount/repotest"
)

// gate is a Fetcher that can be closed, as a network is.
type gate struct {
	cas.Fetcher
	closed bool
}

var errNetwork = errors.New("network is unreachable")

func (g *gate) Fetch(ctx context.Context, r cas.Request) (io.ReadCloser, error) {
	if g.closed {
		return nil, errNetwork
	}
	return g.Fetcher.Fetch(ctx, r)
}

func text(t *testing.T, v *repo.Revision, path string) string {
	t.Helper()
	n, err := v.Lookup(context.Background(), path)
	if errors.Is(err, fs.ErrNotExist) {
		return "(absent)"
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := v.ReadFile(context.Background(), n, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRefresh(t *testing.T) {
	r := repotest.Build(t, repotest.Spec{Tree: tree()})
	cfg := r.Config(t)
	g := &gate{Fetcher: cfg.Fetcher}
	cfg.Fetcher, cfg.Store.(*cas.Remote).Main = g, g
	o := repotest.Open(t, cfg)
	ctx := context.Background()
	old := o.Head()
	nested, err := old.Lookup(ctx, "/dir/nested/inner")
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := o.Refresh(ctx); changed || err != nil {
		t.Errorf("nothing new: %v, %v", changed, err)
	}

	r.Publish(t, repotest.Rev{Tree: append(tree(), repotest.File{Path: "/new", Content: "new"})})
	if changed, err := o.Refresh(ctx); !changed || err != nil {
		t.Fatalf("a new revision: %v, %v", changed, err)
	}
	if got := text(t, o.Head(), "/new"); got != "new" || o.Head().Manifest().Revision != 2 {
		t.Errorf("/new is %q in revision %d", got, o.Head().Manifest().Revision)
	}
	if got := text(t, old, "/new"); got != "(absent)" {
		t.Errorf("the old revision has /new: %q", got)
	}
	// The nested catalog is rewritten too, as its revision is in it.
	if _, _, ok := o.Numbered(nested.Number); !ok {
		t.Error("the number of an old catalog is gone")
	}
	if n, err := o.Head().NodeAt(nested.Number, nested.Entry.Row); err != nil || n.Path != "/dir/nested/inner" {
		t.Errorf("a node of the old revision: %+v, %v", n, err)
	}

	g.closed = true
	if _, err := o.Refresh(ctx); !errors.Is(err, errNetwork) {
		t.Errorf("without a network: %v", err)
	}
	if off, why := o.Offline(); !off || !errors.Is(why, errNetwork) || o.TTL() != 3*time.Minute {
		t.Errorf("offline %v because of %v, asked again after %v", off, why, o.TTL())
	}
	if got := text(t, o.Head(), "/new"); got != "new" {
		t.Errorf("offline /new is %q", got)
	}
	g.closed = false
	r.SignWhitelist(t, func(w *repo.Whitelist) { w.Expires = time.Unix(1.5e9, 0) })
	if _, err := o.Refresh(ctx); !errors.Is(err, repo.ErrExpired) {
		t.Errorf("with an expired whitelist: %v", err)
	}
	r.SignWhitelist(t, nil)
	if changed, err := o.Refresh(ctx); changed || err != nil {
		t.Errorf("healed: %v, %v", changed, err)
	}
	if off, _ := o.Offline(); off || o.TTL() != 240*time.Second {
		t.Errorf("healed: offline %v, TTL %v", off, o.TTL())
	}
}

func TestUnchangedCatalogIsShared(t *testing.T) {
	r := repotest.Build(t, repotest.Spec{Tree: tree()})
	o := repotest.Open(t, r.Config(t))
	ctx := context.Background()
	first, err := o.Head().Lookup(ctx, "/dir/nested")
	if err != nil {
		t.Fatal(err)
	}
	// The same content, published once more, keeps a catalog of the same bytes.
	r.Manifest.Revision--
	r.Publish(t, repotest.Rev{Tree: append(tree(), repotest.File{Path: "/new"})})
	r.Manifest.Timestamp++
	r.SignManifest(t, nil)
	if changed, err := o.Refresh(ctx); !changed || err != nil {
		t.Fatal(changed, err)
	}
	second, err := o.Head().Lookup(ctx, "/dir/nested")
	if err != nil || second.Catalog != first.Catalog || second.Number != first.Number || o.Catalogs() != 3 {
		t.Errorf("catalog number %d became %d, %d open, %v", first.Number, second.Number, o.Catalogs(), err)
	}
}

// TestRollback: a server that offers an old manifest, properly signed.
// A process that goes on for another one opens the revisions that were held, by their hashes.
func TestAt(t *testing.T) {
	r := repotest.Build(t, repotest.Spec{Tree: []repotest.File{{Path: "/file", Content: "one"}}})
	first := r.Manifest.Root
	r.Publish(t, repotest.Rev{Tree: []repotest.File{{Path: "/file", Content: "two"}}})
	cfg := r.Config(t)
	o := repotest.Open(t, cfg)
	old, err := o.At(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	if got, now := text(t, old, "/file"), text(t, o.Head(), "/file"); got != "one" || now != "two" || old.Manifest().Revision != 1 {
		t.Errorf("revision %d reads %q, the head %q", old.Manifest().Revision, got, now)
	}
	if _, err := o.At(t.Context(), cas.Sum(cas.SHA1, []byte("nothing"))); err == nil {
		t.Error("a revision that is nowhere was opened")
	}
	cfg.Blacklist = []string{"<" + r.FQRN + " 2"}
	if _, err := repotest.Open(t, cfg).At(t.Context(), first); !errors.Is(err, repo.ErrBlacklisted) {
		t.Errorf("a refused revision: %v", err)
	}
}

func TestRollback(t *testing.T) {
	r := repotest.Build(t, repotest.Spec{Tree: tree()})
	path := filepath.Join(r.Dir, repo.ManifestName)
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r.Publish(t, repotest.Rev{Tree: append(tree(), repotest.File{Path: "/new", Content: "new"})})
	cfg := r.Config(t)
	o := repotest.Open(t, cfg)
	if err := os.WriteFile(path, old, 0o644); err != nil {
		t.Fatal(err)
	}
	if changed, err := o.Refresh(context.Background()); changed || !errors.Is(err, repo.ErrRollback) {
		t.Errorf("refresh: %v, %v", changed, err)
	}
	// Another process with the same cache keeps what was seen.
	again := repotest.Open(t, cfg)
	if got := text(t, again.Head(), "/new"); got != "new" {
		t.Errorf("/new is %q", got)
	}
	if off, why := again.Offline(); !off || !errors.Is(why, repo.ErrRollback) {
		t.Errorf("offline %v because of %v", off, why)
	}
	// With the cached catalogs gone there is nothing right to show.
	cfg.Store = r.Config(t).Store
	cfg.Store.(*cas.Remote).Main = &gate{Fetcher: cfg.Fetcher, closed: true}
	if err := readEverything(cfg); err == nil {
		t.Error("an old manifest is taken")
	}
}

func TestOffline(t *testing.T) {
	r := repotest.Build(t, repotest.Spec{Tree: tree(), Tag: "v1"})
	r.Publish(t, repotest.Rev{Tree: append(tree(), repotest.File{Path: "/new", Content: "new"})})
	for _, tag := range []string{"", "v1", r.Manifest.Root.String()} {
		t.Run(tag, func(t *testing.T) {
			cfg := r.Config(t)
			g := &gate{Fetcher: cfg.Fetcher}
			cfg.Tag, cfg.Fetcher, cfg.Store.(*cas.Remote).Main = tag, g, g
			if err := readEverything(cfg); err != nil {
				t.Fatal(err)
			}
			g.closed = true
			if err := readEverything(cfg); err != nil {
				t.Errorf("warm cache: %v", err)
			}
			o := repotest.Open(t, cfg)
			if got, want := text(t, o.Head(), "/new"), map[string]string{"v1": "(absent)"}[tag]; got != want && want+got != "new" {
				t.Errorf("/new is %q", got)
			}
			if _, err := o.Tags(context.Background()); err == nil {
				t.Error("tags are listed offline")
			}
			cold := r.Config(t)
			cold.Tag, cold.Fetcher, cold.Store.(*cas.Remote).Main = tag, g, g
			if err := readEverything(cold); !errors.Is(err, errNetwork) {
				t.Errorf("cold cache: %v", err)
			}
		})
	}
}

func TestTags(t *testing.T) {
	r := repotest.Build(t, repotest.Spec{Tree: tree(), Tag: "v1"}) // revision n is of 1700000000 + 100 n
	first := r.Manifest.Root
	r.Publish(t, repotest.Rev{Tree: append(tree(), repotest.File{Path: "/new", Content: "2"}), Tag: "v2"})
	r.Publish(t, repotest.Rev{Tree: append(tree(), repotest.File{Path: "/new", Content: "3"})})
	tests := []struct{ tag, content, err string }{
		{"", "3", ""},
		{"v1", "(absent)", ""},
		{"v2", "2", ""},
		{"trunk", "3", ""},
		{first.String(), "(absent)", ""},
		{"2023-11-14T22:15:00Z", "(absent)", ""}, // of 1700000100
		{"2023-11-14T22:17:00Z", "2", ""},
		{"2023-11-14 22:17:00", "2", ""},
		{"2030-01-01", "3", ""},
		{"2020-01-01", "", "nothing published by then"},
		{"v9", "", "no such tag or revision; the newest tags are trunk, v2, v1"},
		{"2", "2", ""},
		{"3", "3", ""},
		{"4", "", "revision 4: no such tag or revision: none with a tag has this number, the newest are 3 (trunk), 2 (v2), 1 (v1); any other"},
		{cas.Sum(cas.SHA1, nil).String(), "", "the server does not have this revision: it was removed, or what tag: names is mistyped"},
	}
	for _, test := range tests {
		t.Run(test.tag, func(t *testing.T) {
			cfg := r.Uncached(t)
			cfg.Tag = test.tag
			o, err := repo.Open(context.Background(), cfg)
			if err != nil {
				if test.err == "" || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want %q", err, test.err)
				}
				return
			}
			defer o.Close()
			if got := text(t, o.Head(), "/new"); got != test.content {
				t.Errorf("/new is %q, want %q", got, test.content)
			}
			if changed, err := o.Refresh(context.Background()); changed || err != nil {
				t.Errorf("refresh: %v, %v", changed, err)
			}
		})
	}
	tags, err := repotest.Open(t, r.Uncached(t)).Tags(context.Background())
	names := map[string]uint64{}
	for _, tag := range tags {
		names[tag.Name] = tag.Revision
	}
	if err != nil || !maps.Equal(names, map[string]uint64{"v1": 1, "v2": 2, "trunk": 3}) {
		t.Errorf("tags %v, %v", names, err)
	}
}

// TestPinnedChecksTrust: a tag is no way round an expired whitelist.
func TestPinnedChecksTrust(t *testing.T) {
	r := repotest.Build(t, repotest.Spec{Tree: tree(), Tag: "v1", Expires: time.Unix(1.5e9, 0)})
	for _, tag := range []string{"v1", "2030-01-01", r.Manifest.Root.String()} {
		cfg := r.Uncached(t)
		cfg.Tag = tag
		if err := readEverything(cfg); !errors.Is(err, repo.ErrExpired) {
			t.Errorf("tag %s: %v", tag, err)
		}
	}
}

// bodies is a Fetcher over several sources, as a client with several hosts is.
type bodies struct {
	sources []cas.Fetcher
	mu      sync.Mutex
	asked   []int // for the manifest
	current int
}

func (b *bodies) Fetch(ctx context.Context, r cas.Request) (io.ReadCloser, error) {
	b.mu.Lock()
	source := b.sources[b.current]
	if r.Name == repo.ManifestName {
		b.asked = append(b.asked, b.current)
	}
	b.mu.Unlock()
	body, err := source.Fetch(ctx, r)
	return &body1{body, b}, err
}

type body1 struct {
	io.ReadCloser
	b *bodies
}

func (b *body1) Source() string {
	b.b.mu.Lock()
	defer b.b.mu.Unlock()
	return "source " + string(rune('0'+b.b.current))
}

func (b *body1) Reject(error) bool {
	b.b.mu.Lock()
	defer b.b.mu.Unlock()
	if b.b.current+1 == len(b.b.sources) {
		return false
	}
	b.b.current++
	return true
}

// TestStaleSource: one server is behind or broken, the next one is not.
func TestStaleSource(t *testing.T) {
	r := repotest.Build(t, repotest.Spec{Tree: tree()})
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.Mkdir(broken, 0o755); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(r.Dir, repo.ManifestName))
	if err == nil {
		err = os.WriteFile(filepath.Join(broken, repo.ManifestName), flip(-1)(raw), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	cfg := r.Config(t)
	b := &bodies{sources: []cas.Fetcher{cas.Dir(broken), cas.Dir(r.Dir)}}
	cfg.Fetcher = b
	if err := readEverything(cfg); err != nil {
		t.Error(err)
	}
	if want := []int{0, 0, 1}; !slices.Equal(b.asked, want) { // past the proxies, then from the next
		t.Errorf("sources asked %v, want %v", b.asked, want)
	}
	b.sources, b.current = b.sources[:1], 0
	if err := readEverything(cfg); err == nil || !strings.Contains(err.Error(), "from source 0") {
		t.Errorf("error %v does not name the source", err)
	}

	b.sources[0], b.current = cas.Dir(r.Dir), 0
	certificate := cas.Object{Hash: r.Manifest.Certificate, Suffix: cas.CertificateSuffix}
	if err := os.WriteFile(r.Path(certificate), []byte("none"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := readEverything(r.ConfigFrom(t, b)); err == nil || strings.Count(err.Error(), "(from ") != 1 {
		t.Errorf("error %v does not name the source of a corrupt certificate once", err)
	}
}
