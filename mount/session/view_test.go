package session

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestHostView(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/a/b", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/a/b/file", []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a/b", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	v, ctx := hostView{dir}, context.Background()
	for p, want := range map[string]fs.FileMode{"/": fs.ModeDir, "/a/b": fs.ModeDir, "/a/b/file": 0, "/link": fs.ModeSymlink} {
		if mode, _, err := v.stat(ctx, p); err != nil || mode != want {
			t.Errorf("stat %s: %v %v, want %v", p, mode, err, want)
		}
	}
	if _, link, _ := v.stat(ctx, "/link"); link != "a/b" {
		t.Errorf("link to %q", link)
	}
	if _, _, err := v.stat(ctx, "/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if names, err := v.names(ctx, "/"); err != nil || !slices.Contains(names, "link") || len(names) != 2 {
		t.Errorf("names %q %v", names, err)
	}
	if b, err := v.read(ctx, "/a/b/file", 7); err != nil || string(b) != "content" {
		t.Errorf("read %q %v", b, err)
	}
	if _, err := v.read(ctx, "/a/b/file", 6); err == nil || !strings.Contains(err.Error(), "more than 6 bytes") {
		t.Errorf("read beyond the limit: %v", err)
	}
}

func TestFirstLink(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"/a/b", "/x"} {
		if err := os.MkdirAll(dir+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"/a/up": "../x", "/top": "a", "/a/b/abs": "/cvmfs/other/x"} {
		if err := os.Symlink(target, dir+name); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		path string
		want *symlink
		err  error
	}{
		{"/", nil, nil},
		{"/a/b", nil, nil},
		{"/a/up", &symlink{"/a", "../x", ""}, nil},
		{"/a/up/more/yet", &symlink{"/a", "../x", "/more/yet"}, nil},
		{"/a/b/abs/y", &symlink{"/a/b", "/cvmfs/other/x", "/y"}, nil},
		{"/none", nil, fs.ErrNotExist},
		{"/a/none/more", nil, fs.ErrNotExist},
	} {
		got, err := firstLink(context.Background(), linkView{hostView{dir}}, tt.path)
		if !errors.Is(err, tt.err) || (got == nil) != (tt.want == nil) || got != nil && *got != *tt.want {
			t.Errorf("%s: %+v, %v; want %+v, %v", tt.path, got, err, tt.want, tt.err)
		}
	}
}

// linkView follows no link on the way, as catalogs do.
type linkView struct{ hostView }

func (v linkView) stat(ctx context.Context, p string) (fs.FileMode, string, error) {
	for d := filepath.Dir(p); d != "/"; d = filepath.Dir(d) {
		if mode, _, err := v.hostView.stat(ctx, d); err == nil && mode == fs.ModeSymlink {
			return 0, "", fs.ErrNotExist
		}
	}
	return v.hostView.stat(ctx, p)
}

func TestSplitPath(t *testing.T) {
	for _, tt := range []struct {
		image, fqrn, path string
		ok                bool
	}{
		{"/cvmfs/a.b/c/d", "a.b", "/c/d", true}, {"/cvmfs/a.b", "a.b", "/", true}, {"/cvmfs//a.b//c/../d/", "a.b", "/d", true},
		{"cvmfs://a.b/c", "a.b", "/c", true}, {"cvmfs://a.b", "a.b", "/", true}, {"cvmfs:///a.b/../../c", "a.b", "/c", true},
		{"/cvmfs", "", "", false}, {"/cvmfs/../etc", "", "", false}, {"debian:12", "", "", false}, {"", "", "", false},
	} {
		fqrn, p, ok := splitPath(tt.image)
		if fqrn != tt.fqrn || p != tt.path || ok != tt.ok {
			t.Errorf("%q: %q %q %v", tt.image, fqrn, p, ok)
		}
	}
}

func TestMountedBelow(t *testing.T) {
	if !mountedBelow("/", "proc") {
		t.Error("/proc is no mount point")
	}
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/plain", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"plain", "none", "../proc", ""} {
		if mountedBelow(dir, name) {
			t.Errorf("%q counts as mounted", name)
		}
	}
}

func TestJournalIsBounded(t *testing.T) {
	var j journal
	for range 3 * journalLength {
		j.add(errors.New("old"))
	}
	j.add(errors.New("newest"))
	if list := j.list(); len(list) != journalLength || !strings.HasSuffix(list[len(list)-1], " newest") {
		t.Errorf("%d lines, last %q", len(list), list[len(list)-1])
	}
}
