package repo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/mount/repotest"
)

func names(t *testing.T, v *repo.Revision, path string) (all []string) {
	t.Helper()
	n, err := v.Lookup(context.Background(), path)
	if err == nil {
		err = v.List(context.Background(), n, func(n repo.Node) error { all = append(all, n.Path); return nil })
	}
	if err != nil {
		t.Fatalf("list %s: %v", path, err)
	}
	slices.Sort(all)
	return all
}

// deep is a repository with catalogs in catalogs, bound ones and hidden ones.
func deep(t *testing.T) *repotest.Repo {
	nested := func(path string) repotest.File { return repotest.File{Path: path, Kind: repotest.Dir, Nested: true} }
	r := repotest.Build(t, repotest.Spec{Tag: "v1", Tree: []repotest.File{{Path: "/only-in-v1", Content: "old"},
		nested("/a"), {Path: "/a/x", Content: "old x"}}})
	r.Publish(t, repotest.Rev{Tree: []repotest.File{
		nested("/a"), nested("/a/b"), nested("/a/b/c"), {Path: "/a/b/c/d/file", Content: "deep"}, {Path: "/a/x", Content: "new x"},
		{Path: "/a/bb", Content: "not in /a/b"},
		{Path: "/h1", Content: "linked", Group: 1}, {Path: "/h2", Content: "linked", Group: 1},
		{Path: "/k1", Content: "other", Group: 2}, {Path: "/k2", Content: "other", Group: 2},
		{Path: "/.cvmfs", Kind: repotest.Dir, Nested: true, Flags: catalog.Hidden},
		{Path: "/.cvmfs/snapshots/v1", Kind: repotest.Dir, Bind: "v1"},
	}})
	return r
}

func TestLookup(t *testing.T) {
	v := repotest.Open(t, deep(t).Uncached(t)).Head()
	ctx := context.Background()
	for path, want := range map[string]string{
		"/a/b/c/d/file":                   "deep",
		"a//b/./c/d/file/":                "deep",
		"/a/x":                            "new x",
		"/a/bb":                           "not in /a/b",
		"/h2":                             "linked",
		"/.cvmfs/snapshots/v1/only-in-v1": "old",
		"/.cvmfs/snapshots/v1/a/x":        "old x",
		"/only-in-v1":                     "(absent)",
		"/a/b/c/none":                     "(absent)",
		"/none/x":                         "(absent)",
		"/h1/x":                           "(absent)",
		"/.cvmfs/snapshots/v1/a/b":        "(absent)",
	} {
		if got := text(t, v, path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	for path, want := range map[string]string{
		"":                     "/a /h1 /h2 /k1 /k2",
		"/a":                   "/a/b /a/bb /a/x",
		"/a/b":                 "/a/b/c",
		"/a/b/c/d":             "/a/b/c/d/file",
		"/.cvmfs":              "/.cvmfs/snapshots",
		"/.cvmfs/snapshots":    "/.cvmfs/snapshots/v1",
		"/.cvmfs/snapshots/v1": "/.cvmfs/snapshots/v1/a /.cvmfs/snapshots/v1/only-in-v1",
	} {
		if got := strings.Join(names(t, v, path), " "); got != want {
			t.Errorf("%q lists %q, want %q", path, got, want)
		}
	}
	n, err := v.Lookup(ctx, "/.cvmfs/snapshots/v1")
	if err != nil || n.Entry.Name != "v1" || n.CatalogPath() != "" {
		t.Errorf("the bind mountpoint: %+v, %v", n, err)
	}
	if err := v.List(ctx, must(v.Lookup(ctx, "/h1")), func(repo.Node) error { return nil }); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("list of a file: %v", err)
	}
	stop := errors.New("stop")
	if err := v.List(ctx, v.Root(), func(repo.Node) error { return stop }); err != stop {
		t.Errorf("an error of visit: %v", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestChild walks by names only, as the kernel does.
func TestChild(t *testing.T) {
	o := repotest.Open(t, deep(t).Uncached(t))
	v, ctx := o.Head(), context.Background()
	n := v.Root()
	for i, name := range []string{"a", "b", "c", "d", "file"} {
		var err error
		if n, err = v.Child(ctx, n, name); err != nil {
			t.Fatal(err)
		}
		// Looking at a mountpoint opens no catalog, looking below it does.
		if want := min(i+1, 4); o.Catalogs() != want {
			t.Errorf("after %s there are %d catalogs, want %d", n.Path, o.Catalogs(), want)
		}
	}
	if n.Path != "/a/b/c/d/file" {
		t.Errorf("arrived at %q", n.Path)
	}
	hidden, err := v.Child(ctx, v.Root(), ".cvmfs")
	if err != nil || hidden.Entry.Flags&catalog.Hidden == 0 {
		t.Errorf("the hidden directory: %+v, %v", hidden, err)
	}
	bound, err := v.Lookup(ctx, "/.cvmfs/snapshots")
	if err == nil {
		bound, err = v.Child(ctx, bound, "v1")
	}
	if err == nil {
		bound, err = v.Child(ctx, bound, "only-in-v1")
	}
	if err != nil || bound.Path != "/.cvmfs/snapshots/v1/only-in-v1" || bound.CatalogPath() != "/only-in-v1" {
		t.Errorf("below a bind mountpoint: %+v, %v", bound, err)
	}
	for _, name := range []string{"none", "", ".", "..", "a/b", strings.Repeat("x", 300)} {
		if _, err := v.Child(ctx, v.Root(), name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("child %q: %v", name, err)
		}
	}
}

func TestHardLinks(t *testing.T) {
	v := repotest.Open(t, deep(t).Uncached(t)).Head()
	ctx := context.Background()
	ident := map[string]string{}
	err := v.List(ctx, v.Root(), func(n repo.Node) error {
		ident[n.Path] = fmt.Sprint(n.Number, n.Ident)
		child, err := v.Child(ctx, v.Root(), n.Entry.Name)
		if err == nil && child.Ident != n.Ident {
			err = fmt.Errorf("%s: List says %d, Child %d", n.Path, n.Ident, child.Ident)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if ident["/h1"] != ident["/h2"] || ident["/k1"] != ident["/k2"] || ident["/h1"] == ident["/k1"] {
		t.Errorf("identities %v", ident)
	}
}

func TestNodeAt(t *testing.T) {
	o := repotest.Open(t, deep(t).Uncached(t))
	v, ctx := o.Head(), context.Background()
	for _, path := range []string{"/a/b/c/d/file", "/a/x", "/h2", "/a/b"} {
		n := must(v.Lookup(ctx, path))
		again, err := v.NodeAt(n.Number, n.Entry.Row)
		if err != nil || again.Path != path || again.CatalogPath() != path || again.Entry.Path != n.Entry.Path {
			t.Errorf("%s came back as %+v, %v", path, again, err)
		}
		if _, h, ok := o.Numbered(n.Number); !ok || h != n.CatalogHash {
			t.Errorf("number %d is %s, %v", n.Number, h, ok)
		}
	}
	for _, id := range []struct {
		number uint32
		row    int64
	}{{0, 1}, {99, 1}, {1, 999}, {1, -1}} {
		if _, err := v.NodeAt(id.number, id.row); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: %v", id, err)
		}
	}
	if _, _, ok := o.Numbered(0); ok {
		t.Error("there is a catalog number 0")
	}
}

// TestContent reads whole, chunked and external files in all ways.
func TestContent(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 100) // 1600 bytes
	r := repotest.Build(t, repotest.Spec{Tree: []repotest.File{
		{Path: "/whole", Content: content}, {Path: "/chunked", Content: content, Chunk: 100},
		{Path: "/dir/external", Content: content, External: true}, {Path: "/dir/external-chunked", Content: content, External: true, Chunk: 333},
		{Path: "/empty"}, {Path: "/fifo", Kind: repotest.Fifo},
	}})
	v := repotest.Open(t, r.Uncached(t)).Head()
	ctx := context.Background()
	for _, path := range []string{"/whole", "/chunked", "/dir/external", "/dir/external-chunked"} {
		n := must(v.Lookup(ctx, path))
		if b, err := v.ReadFile(ctx, n, 1600); err != nil || string(b) != content {
			t.Errorf("%s: %d bytes, %v", path, len(b), err)
		}
		if _, err := v.ReadFile(ctx, n, 1599); err == nil || !strings.Contains(err.Error(), "more than 1599") {
			t.Errorf("%s, limited: %v", path, err)
		}
		f := must(v.File(ctx, n))
		for _, at := range []struct{ offset, length int }{{0, 1600}, {99, 2}, {100, 100}, {0, 1}, {1599, 1}, {50, 1000}, {600, 700}} {
			p := make([]byte, at.length)
			if n, err := f.ReadAt(p, int64(at.offset)); n != at.length || err != nil || string(p) != content[at.offset:at.offset+at.length] {
				t.Errorf("%s [%d, +%d): %d, %v", path, at.offset, at.length, n, err)
			}
		}
		for _, offset := range []int64{1600, 1601, 1 << 40} {
			if n, err := f.ReadAt(make([]byte, 1), offset); n != 0 || err != io.EOF {
				t.Errorf("%s at %d: %d, %v", path, offset, n, err)
			}
		}
		if n, err := f.ReadAt(make([]byte, 100), 1550); n != 50 || err != io.EOF {
			t.Errorf("%s over the end: %d, %v", path, n, err)
		}
		if _, err := f.ReadAt(nil, -1); err == nil {
			t.Errorf("%s: a negative offset is taken", path)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s after Close: %v", path, err)
		}
	}
	if got := text(t, v, "/empty"); got != "" {
		t.Errorf("/empty is %q", got)
	}
	if _, err := v.File(ctx, must(v.Lookup(ctx, "/fifo"))); err == nil {
		t.Error("a fifo is opened")
	}
	if o := must(v.Objects(must(v.Lookup(ctx, "/dir/external-chunked")))); len(o) != 5 || o[1].External != "/dir/external-chunked" || o[1].Offset != 333 {
		t.Errorf("external objects %+v", o)
	}
	edit(t, filepath.Join(r.ExternalDir, "dir/external"), flip(3))
	if err := readEverything(r.Uncached(t)); !errors.Is(err, cas.ErrCorrupt) {
		t.Errorf("changed external data: %v", err)
	}
}

func TestReadersOfOneFile(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 1000)
	r := repotest.Build(t, repotest.Spec{Tree: []repotest.File{{Path: "/chunked", Content: content, Chunk: 1000}}})
	v := repotest.Open(t, r.Uncached(t)).Head()
	f := must(v.File(context.Background(), must(v.Lookup(context.Background(), "/chunked"))))
	defer f.Close()
	errs := make(chan error)
	for i := range 8 {
		go func() {
			p := make([]byte, 700)
			for k := range 100 {
				offset := (k*977 + i*1999) % (len(content) - len(p))
				if _, err := f.ReadAt(p, int64(offset)); err != nil || string(p) != content[offset:offset+len(p)] {
					errs <- fmt.Errorf("at %d: %v", offset, err)
					return
				}
			}
			errs <- nil
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestCancelledRead(t *testing.T) {
	r := repotest.Build(t, repotest.Spec{Tree: tree()})
	v := repotest.Open(t, r.Uncached(t)).Head()
	f := must(v.File(context.Background(), must(v.Lookup(context.Background(), "/file"))))
	defer f.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.ReadContext(ctx, make([]byte, 1), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, err := f.ReadContext(context.Background(), make([]byte, 1), 0); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
