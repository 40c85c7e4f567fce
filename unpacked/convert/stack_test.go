package convert

import (
	"cmp"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/unpacked/layer"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// shown is what is seen of items, and how many names each file has: "path mode owner mtime target names attributes" lines.
func shown(t *testing.T, items iter.Seq2[layerItem, error], links map[layerFile]int) string {
	t.Helper()
	var b strings.Builder
	for it, err := range items {
		if err != nil {
			t.Fatal(err)
		}
		names := 1
		if it.group != 0 {
			names = links[shownFile(&it)]
		}
		fmt.Fprintf(&b, "%s %o %d %d %s %d %v\n", it.Path, it.Entry.Mode, it.Entry.UID, it.Entry.Mtime, it.Entry.Symlink, names, it.Entry.Xattrs)
	}
	return b.String()
}

// kernelShows is shown of what the kernel makes of layers.
func kernelShows(t *testing.T, layers ...iter.Seq2[publish.Item, error]) string {
	t.Helper()
	links := newLinkTable()
	count := merger{kernel: true, count: links.layer}
	for _, err := range count.merge(layers) {
		if err != nil {
			t.Fatal(err)
		}
	}
	show := merger{kernel: true}
	return shown(t, show.merge(layers), links.layers)
}

// imageShows is shown of a merged image.
func imageShows(t *testing.T, f *follower) string {
	t.Helper()
	links := map[layerFile]int{}
	items := func(yield func(layerItem, error) bool) {
		for it, err := range new(merger).merge(f.layers) {
			it.layer, it.group = 0, it.Entry.LinkGroup
			if !yield(it, err) {
				return
			}
		}
	}
	for it := range items {
		links[shownFile(&it)]++
	}
	return shown(t, items, links)
}

// follow merges layers, and forgets the result.
func follow(layers []iter.Seq2[publish.Item, error]) (*follower, error) {
	f := newFollower(layers)
	return f, f.all(drain)
}

func TestDifference(t *testing.T) {
	base := stream(dir("", 1), dir("/a", 1), file("/a/x", 1), dir("/d", 1), linked(file("/d/1", 1), 1), linked(file("/d/2", 1), 1))
	for _, tt := range []struct {
		name   string
		layers []iter.Seq2[publish.Item, error]
		want   string // paths of the difference
	}{
		{"no layers", nil, ""},
		{"one layer", []iter.Seq2[publish.Item, error]{base}, ""},
		{"whiteouts and opaque directories", []iter.Seq2[publish.Item, error]{base, stream(dir("", 2), whiteout("/a"), dir("/d", 2, layer.OpaqueTrusted, layer.OpaqueUser))}, ""},
		{"an implied directory", []iter.Seq2[publish.Item, error]{base, stream(dir("", 2), dir("/a", 0, layer.Implied), file("/a/y", 2))}, "/ /a"},
		{"a directory that no layer lists", []iter.Seq2[publish.Item, error]{base, stream(dir("", 2), dir("/e", 0, layer.Implied), file("/e/y", 2))}, ""},
		{"an old mark", []iter.Seq2[publish.Item, error]{base, stream(dir("", 2), dir("/e", 0, layer.ImpliedBefore))}, "/ /e"},
		{"one layer with a mark", []iter.Seq2[publish.Item, error]{stream(dir("", 0, layer.Implied), file("/y", 2))}, ""},
		{"one with a whiteout", []iter.Seq2[publish.Item, error]{stream(dir("", 0, layer.Implied), whiteout("/y"))}, "/"},
		{"a hard link into a lower layer", []iter.Seq2[publish.Item, error]{base, stream(dir("", 2), hardLink("/x", "/a/x"))}, "/ /x"},
		{"one to a file that is replaced", []iter.Seq2[publish.Item, error]{base, stream(dir("", 2), dir("/a", 2), file("/a/x", 2), hardLink("/x", "/a/x"))}, "/ /x"},
		{"one in its directory", []iter.Seq2[publish.Item, error]{base, stream(dir("", 2), dir("/a", 2), hardLink("/a/y", "/a/x"))}, "/ /a /a/x /a/y"},
		{"a name of two is removed", []iter.Seq2[publish.Item, error]{base, stream(dir("", 2), dir("/d", 2), whiteout("/d/2"))}, "/ /d /d/1"},
		{"a whiteout of nothing, which the kernel would list", []iter.Seq2[publish.Item, error]{base, stream(dir("", 2), dir("/e", 2), whiteout("/e/n"))}, "/ /e"},
		{"a file beyond a symbolic link", []iter.Seq2[publish.Item, error]{stream(dir("", 1), symlink("/bin", "a"), dir("/a", 1)), stream(dir("", 2), implied("/bin"), file("/bin/b", 2))}, "/ /a /a/b /bin"},
		{"a whiteout beyond one", []iter.Seq2[publish.Item, error]{base, stream(dir("", 2), symlink("/l", "d")), stream(dir("", 3), implied("/l"), whiteout("/l/2"))}, "/ /d /d/1 /d/2 /l"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := follow(tt.layers)
			if err != nil {
				t.Fatal(err)
			}
			items, err := f.difference(tt.layers)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if items != nil {
				for it, err := range items {
					if err != nil {
						t.Fatal(err)
					}
					got += " " + cmp.Or(it.Path, "/")
				}
			}
			if got = strings.TrimPrefix(got, " "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// oddLayer is a random layer that goes through symbolic links of lower ones, too.
func oddLayer(r *rand.Rand, mtime int64, lower overlay) []publish.Item {
	entries := overlay{}
	for _, it := range randomLayer(r, mtime, lower) {
		if it.Entry.IsRegular() && r.IntN(4) == 0 {
			it = symlink(it.Path, []string{"/a", "b", "/c/a", "a.b"}[r.IntN(4)])
			it.Entry.Mtime = mtime
		} else if it.Entry.IsRegular() && r.IntN(8) == 0 {
			it.Entry.Mode = unix.S_IFIFO | 0o600
			it.Entry.LinkGroup = 0
		}
		if isDir(it) && !isImplied(it.Entry) {
			it.Entry.Mode, it.Entry.UID = unix.S_IFDIR|0o700|uint32(r.IntN(64)), uint32(r.IntN(2))
		}
		entries[it.Path] = it
	}
	return entries.items()
}

// TestStackIsImage has random layers with their difference on top shown by the kernel, as this package understands it, like
// the image. TestStackMounted asks a kernel.
func TestStackIsImage(t *testing.T) {
	refused, different := 0, 0
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		model := overlay{}
		var layers []iter.Seq2[publish.Item, error]
		var text strings.Builder
		for n := range 1 + r.IntN(5) {
			layer := oddLayer(r, int64(n+1), model)
			model.apply(n, layer)
			layers = append(layers, stream(layer...))
			fmt.Fprintf(&text, "layer %d: %s\n", n+1, describe(layer))
		}
		f, err := follow(layers)
		if err != nil { // a link to what went elsewhere, or in a circle
			refused++
			continue
		}
		over, err := f.difference(layers)
		if err != nil {
			t.Fatal(err)
		}
		want, plain := imageShows(t, f), kernelShows(t, layers...)
		if over == nil {
			if plain != want {
				t.Fatalf("seed %d\n%sno difference was found\n got %s\nwant %s", seed, &text, plain, want)
			}
			continue
		}
		different++
		if got := kernelShows(t, append(layers, over)...); got != want || plain == want {
			t.Fatalf("seed %d\n%sthe layers alone show\n%swith the difference\n%swant\n%s", seed, &text, plain, got, want)
		}
	}
	t.Logf("%d sequences refused, %d with a difference", refused, different)
	if refused > 100 || different < 200 {
		t.Error("the generator makes too little to test")
	}
}
