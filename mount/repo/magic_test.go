package repo_test

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/mount/repotest"
)

func TestMagic(t *testing.T) {
	r := repotest.Build(t, repotest.Spec{Compression: cas.None, Tree: append(tree(),
		repotest.File{Path: "/dir/ext", Content: "far", External: true},
		repotest.File{Path: "/own", Content: "x", Xattrs: map[string]string{"user.fqrn": "mine"}})})
	cfg := r.Uncached(t)
	now := time.Unix(1.8e9, 0)
	cfg.Now, cfg.Version = func() time.Time { return now }, "flatrun 1.2"
	cfg.Status = func() repo.Status {
		return repo.Status{Host: "http://a", Proxy: "DIRECT", Hosts: "http://a;http://b", ExternalHost: "http://x", Timeout: 5 * time.Second}
	}
	v := repotest.Open(t, cfg).Head()
	now = now.Add(61 * time.Second)
	hello := cas.Sum(cas.SHA1, []byte("hello\n")).String()
	tests := []struct{ path, name, want string }{ // "" for absent, a leading ~ for a part of the value
		{"", "user.fqrn", "test.example.org"},
		{"/dir/nested/inner", "user.fqrn", "test.example.org"},
		{"/own", "user.fqrn", "mine"},
		{"", "user.revision", "1"},
		{"", "user.root_hash", r.Manifest.Root.String()},
		{"", "user.timestamp", "1700000100"},
		{"", "user.expires", "2"},
		{"", "user.version", "flatrun 1.2"},
		{"", "user.pubkeys", "~BEGIN PUBLIC KEY"},
		{"", "user.nclg", "~"},
		{"", "user.repo_counters", "~regular,5\n"},
		{"", "user.repo_metainfo", "~administrator"},
		{"/file", "user.catalog_counters", "~catalog_mountpoint: \nregular,5\n"},
		{"/dir/nested/inner", "user.catalog_counters", "~catalog_mountpoint: /dir/nested\nregular,1\n"},
		{"/dir/nested", "user.catalog_counters", "~catalog_mountpoint: /dir/nested\n"},
		{"/file", "user.hash", hello},
		{"/file", "user.lhash", hello},
		{"/file", "user.chunks", "1"},
		{"/file", "user.chunk_list", "hash,offset,size\n" + hello + ",0,6\n"},
		{"/file", "user.compression", "none"},
		{"/file", "user.external_file", "0"},
		{"/file", "user.direct_io", "0"},
		{"/file", "user.external_url", ""},
		{"/file", "user.rawlink", ""},
		{"/file", "user.none", ""},
		{"/file", "trusted.none", ""},
		{"/big", "user.hash", ""},
		{"/big", "user.lhash", ""},
		{"/big", "user.chunks", "4"},
		{"/big", "user.chunk_list", "~,300,300\n"},
		{"/big", "user.chunk_list~?", "1"},
		{"/big", "user.chunk_list~0", "~hash,offset,size\n"},
		{"/big", "user.chunk_list@0", "~hash,offset,size\n"},
		{"/big", "user.chunk_list~1", ""},
		{"/big", "user.chunk_list~x", ""},
		{"/dir/ext", "user.external_file", "1"},
		{"/dir/ext", "user.external_url", "http://x/dir/ext"},
		{"/dir", "user.hash", ""},
		{"/dir", "user.compression", ""},
		{"/link", "user.rawlink", "$(VAR:-file)"},
		{"/link", "xfsroot.rawlink", "$(VAR:-file)"},
		{"/link", "user.hash", ""},
		{"", "user.host", "http://a"},
		{"", "user.host_list", "http://a;http://b"},
		{"", "user.proxy", "DIRECT"},
		{"", "user.proxy_list", ""},
		{"", "user.timeout", "5"},
		{"", "user.timeout_direct", ""},
	}
	ctx := context.Background()
	for _, test := range tests {
		n, err := v.Lookup(ctx, test.path)
		if err != nil {
			t.Fatal(err)
		}
		value, err := v.Xattr(ctx, n, test.name)
		part, isPart := strings.CutPrefix(test.want, "~")
		switch {
		case test.want == "" && !errors.Is(err, fs.ErrNotExist):
			t.Errorf("%s of %q is %q, %v; want none", test.name, test.path, value, err)
		case test.want != "" && err != nil:
			t.Errorf("%s of %q: %v", test.name, test.path, err)
		case isPart && !strings.Contains(string(value), part), !isPart && string(value) != test.want:
			t.Errorf("%s of %q is %q, want %q", test.name, test.path, value, test.want)
		}
	}
}

func TestMagicIsListedOnTheRoot(t *testing.T) {
	cfg := repotest.Build(t, repotest.Spec{Tree: tree()}).Uncached(t)
	cfg.Tag = "trunk"
	v := repotest.Open(t, cfg).Head()
	ctx := context.Background()
	root, err := v.Xattrs(ctx, v.Root())
	if err != nil || !slices.Contains(root, "user.revision") || slices.Contains(root, "user.chunks") || slices.Contains(root, "user.host") {
		t.Errorf("the root has %q, %v", root, err)
	}
	file, err := v.Lookup(ctx, "/file")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := v.Xattrs(ctx, file); err != nil || !slices.Equal(got, []string{"user.a"}) {
		t.Errorf("a file has %q, %v", got, err)
	}
	for name, want := range map[string]string{"user.expires": "never (fixed root catalog)", "user.tag": "trunk"} {
		if got, err := v.Xattr(ctx, file, name); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
}

// TestPages reads a value that the kernel would not take at once.
func TestPages(t *testing.T) {
	r := repotest.Build(t, repotest.Spec{Tree: []repotest.File{{Path: "/big", Content: strings.Repeat("x", 3000), Chunk: 2}}})
	v := repotest.Open(t, r.Uncached(t)).Head()
	ctx := context.Background()
	n := must(v.Lookup(ctx, "/big"))
	if pages := must(v.Xattr(ctx, n, "user.chunk_list~?")); string(pages) != "2" {
		t.Fatalf("%s pages", pages)
	}
	first, second := must(v.Xattr(ctx, n, "user.chunk_list~0")), must(v.Xattr(ctx, n, "user.chunk_list~1"))
	all := string(first) + string(second)
	if strings.Count(all, "\n") != 1501 || !strings.HasSuffix(all, ",2998,2\n") {
		t.Errorf("pages of %d and %d bytes, %d lines", len(first), len(second), strings.Count(all, "\n"))
	}
	if whole := must(v.Xattr(ctx, n, "user.chunk_list")); string(whole) != string(first) {
		t.Errorf("the value without a page has %d bytes", len(whole))
	}
}
