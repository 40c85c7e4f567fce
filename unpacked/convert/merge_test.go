package convert

import (
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/unpacked/layer"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// stream is items as a layer's stream.
func stream(items ...publish.Item) iter.Seq2[publish.Item, error] {
	return func(yield func(publish.Item, error) bool) {
		for _, it := range items {
			if !yield(it, nil) {
				return
			}
		}
	}
}

// The constructors of test layers: mtime tells entries of different layers apart.
func dir(path string, mtime int64, xattrs ...string) publish.Item {
	it := publish.Item{Path: path, Entry: catalog.Entry{Mode: unix.S_IFDIR | 0o755, Mtime: mtime}}
	for _, x := range xattrs {
		if it.Entry.Xattrs == nil {
			it.Entry.Xattrs = map[string][]byte{}
		}
		it.Entry.Xattrs[x] = []byte("y")
	}
	return it
}

func file(path string, mtime int64) publish.Item {
	return publish.Item{Path: path, Entry: catalog.Entry{Mode: unix.S_IFREG | 0o644, Mtime: mtime}}
}

func whiteout(path string) publish.Item {
	return publish.Item{Path: path, Entry: catalog.Entry{Mode: unix.S_IFCHR}}
}

func linked(it publish.Item, group uint32) publish.Item {
	it.Entry.LinkGroup = group
	return it
}

// show is a merged tree as text: "path type mtime [group]" lines.
func show(t *testing.T, layers ...iter.Seq2[publish.Item, error]) string {
	t.Helper()
	var b strings.Builder
	last := ""
	for it, err := range Merge(layers...) {
		if err != nil {
			t.Fatal(err)
		}
		if it.Path != "" && publish.ComparePaths(last, it.Path) >= 0 {
			t.Errorf("%q comes after %q", it.Path, last)
		}
		last = it.Path
		fmt.Fprintf(&b, "%s %s %d", it.Path, kind(it.Entry), it.Entry.Mtime)
		if it.Entry.LinkGroup > 0 {
			fmt.Fprintf(&b, " group %d", it.Entry.LinkGroup)
		}
		if len(it.Entry.Xattrs) > 0 {
			fmt.Fprintf(&b, " %v", slices.Sorted(maps.Keys(it.Entry.Xattrs)))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func kind(e catalog.Entry) string {
	if e.IsDir() {
		return "d"
	}
	return "f"
}

func TestMerge(t *testing.T) {
	for _, tt := range []struct {
		name   string
		layers []iter.Seq2[publish.Item, error]
		want   string
	}{
		{"no layers", nil, ""},
		{"one layer", []iter.Seq2[publish.Item, error]{stream(dir("", 1), dir("/a", 1), file("/a/b", 1))}, " d 1\n/a d 1\n/a/b f 1\n"},
		{"a file is replaced", []iter.Seq2[publish.Item, error]{
			stream(dir("", 1), file("/a", 1), file("/b", 1)), stream(dir("", 2), file("/a", 2)),
		}, " d 2\n/a f 2\n/b f 1\n"},
		{"a name is removed", []iter.Seq2[publish.Item, error]{
			stream(dir("", 1), dir("/a", 1), file("/a/x", 1), file("/b", 1)), stream(dir("", 2), whiteout("/a")),
		}, " d 2\n/b f 1\n"},
		{"removed, then made again", []iter.Seq2[publish.Item, error]{
			stream(dir("", 1), dir("/a", 1), file("/a/x", 1)), stream(dir("", 2), whiteout("/a")), stream(dir("", 3), dir("/a", 3), file("/a/y", 3)),
		}, " d 3\n/a d 3\n/a/y f 3\n"},
		{"an opaque directory hides what was in it", []iter.Seq2[publish.Item, error]{
			stream(dir("", 1), dir("/a", 1), dir("/a/d", 1), file("/a/d/x", 1), file("/a/x", 1)),
			stream(dir("", 2), dir("/a", 2, layer.OpaqueTrusted, layer.OpaqueUser), file("/a/y", 2)),
		}, " d 2\n/a d 2\n/a/y f 2\n"},
		{"one that is not listed keeps the attributes of the one below", []iter.Seq2[publish.Item, error]{
			stream(dir("", 1), dir("/a", 1), file("/a/x", 1)), stream(dir("", 2), dir("/a", 2, layer.Implied), file("/a/y", 2)),
			stream(dir("", 3), dir("/a", 0, layer.Implied, layer.OpaqueTrusted), file("/a/z", 3)),
		}, " d 3\n/a d 1\n/a/z f 3\n"},
		{"unless that was removed", []iter.Seq2[publish.Item, error]{
			stream(dir("", 1), dir("/a", 1), file("/a/x", 1)), stream(dir("", 2), whiteout("/a")),
			stream(dir("", 3), dir("/a", 0, layer.Implied, layer.OpaqueTrusted), file("/a/z", 3)),
		}, " d 3\n/a d 0\n/a/z f 3\n"},
		{"a directory becomes a file and hides its content", []iter.Seq2[publish.Item, error]{
			stream(dir("", 1), dir("/a", 1), file("/a/x", 1)), stream(dir("", 2), file("/a", 2)),
		}, " d 2\n/a f 2\n"},
		{"a file becomes a directory", []iter.Seq2[publish.Item, error]{
			stream(dir("", 1), file("/a", 1)), stream(dir("", 2), dir("/a", 2), file("/a/x", 2)),
		}, " d 2\n/a d 2\n/a/x f 2\n"},
		{"an implied directory keeps the attributes of the one below", []iter.Seq2[publish.Item, error]{
			stream(dir("", 1), dir("/a", 1)), stream(dir("", 2, layer.Implied), dir("/a", 2, layer.Implied), file("/a/x", 2)),
		}, " d 1\n/a d 1\n/a/x f 2\n"},
		{"a name that continues another one is not below it", []iter.Seq2[publish.Item, error]{
			stream(dir("", 1), dir("/a", 1), file("/a/x", 1), file("/a-b", 1), file("/a.b", 1)), stream(dir("", 2), whiteout("/a")),
		}, " d 2\n/a-b f 1\n/a.b f 1\n"},
		{"a whiteout of nothing", []iter.Seq2[publish.Item, error]{
			stream(dir("", 1)), stream(dir("", 2), whiteout("/no")),
		}, " d 2\n"},
		{"hard-link groups of two layers stay apart", []iter.Seq2[publish.Item, error]{
			stream(dir("", 1), linked(file("/a", 1), 1), linked(file("/b", 1), 1)), stream(dir("", 2), linked(file("/c", 2), 1), linked(file("/d", 2), 1)),
		}, " d 2\n/a f 1 group 1\n/b f 1 group 1\n/c f 2 group 2\n/d f 2 group 2\n"},
		{"other attributes stay", []iter.Seq2[publish.Item, error]{
			stream(dir("", 1), dir("/a", 1, layer.OpaqueTrusted, "user.note")),
		}, " d 1\n/a d 1 [user.note]\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := show(t, tt.layers...); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

func TestMergeError(t *testing.T) {
	broken := func(yield func(publish.Item, error) bool) {
		_ = yield(dir("", 1), nil) && yield(publish.Item{}, fmt.Errorf("catalog lost"))
	}
	var last error
	for _, err := range Merge(stream(dir("", 1), file("/z", 1)), broken) {
		last = err
	}
	if last == nil || last.Error() != "catalog lost" {
		t.Errorf("the last error is %v", last)
	}
}

// overlay is the naive model: paths and what is there, a layer applied at a time. The hard-link group of an item stands for
// its inode: the layer's number in the high bits.
type overlay map[string]publish.Item

func (o overlay) apply(n int, layer []publish.Item) {
	lower := maps.Clone(o)
	for _, it := range layer {
		if g := it.Entry.LinkGroup; g != 0 {
			it.Entry.LinkGroup = uint32(n)<<8 | g
		}
		switch {
		case isWhiteout(it.Entry):
			o.remove(it.Path, lower)
		case it.Entry.IsDir():
			old, was := o[it.Path]
			if isOpaque(it.Entry) || was && !old.Entry.IsDir() {
				o.remove(it.Path, lower)
			}
			if isImplied(it.Entry) && was && old.Entry.IsDir() {
				it = old
			}
			o[it.Path] = it
		default:
			if isLowerLink(it.Entry) {
				target := lower[it.Entry.Symlink]
				target.Path = it.Path
				it = target
			}
			o.remove(it.Path, lower)
			o[it.Path] = it
		}
	}
}

// remove takes away path and, of what lower layers have, all below it.
func (o overlay) remove(path string, lower overlay) {
	for p := range lower {
		if p == path || strings.HasPrefix(p, path+"/") {
			delete(o, p)
		}
	}
}

func (o overlay) items() []publish.Item {
	var items []publish.Item
	for _, p := range slices.SortedFunc(maps.Keys(o), publish.ComparePaths) {
		items = append(items, o[p])
	}
	return items
}

// inodes is a tree as text: "path type mtime", and "= path" of the first member of a hard-link group.
func inodes(items []publish.Item) string {
	var b strings.Builder
	first := map[uint32]string{}
	for _, it := range items {
		fmt.Fprintf(&b, "%s %s %d", it.Path, kind(it.Entry), it.Entry.Mtime)
		if g := it.Entry.LinkGroup; g != 0 && first[g] == "" {
			first[g] = it.Path
		} else if g != 0 {
			fmt.Fprintf(&b, " = %s", first[g])
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// randomLayer is a layer of random entries among few names, so that layers often meet, over lower ones.
func randomLayer(r *rand.Rand, mtime int64, lower overlay) []publish.Item {
	entries := map[string]publish.Item{"": dir("", mtime)}
	var files []string // that may be linked to: each has a group of its own, as the model counts inodes
	for _, it := range lower.items() {
		if !isDir(it) {
			files = append(files, it.Path)
		}
	}
	for n := range 1 + r.IntN(8) {
		path := ""
		for range 1 + r.IntN(3) {
			if path != "" && !isDir(entries[path]) {
				break
			}
			path += "/" + []string{"a", "a.b", "b", "c"}[r.IntN(4)]
			if _, there := entries[path]; !there {
				entries[path] = dir(path, mtime, layer.Implied)
			}
		}
		if !isDir(entries[path]) || hasChildren(entries, path) {
			continue
		}
		switch r.IntN(8) {
		case 0:
			entries[path] = dir(path, mtime)
		case 7:
			entries[path] = dir(path, mtime, layer.Implied, layer.OpaqueTrusted, layer.OpaqueUser)
		case 1:
			entries[path] = dir(path, mtime, layer.OpaqueTrusted, layer.OpaqueUser)
		case 2:
			entries[path] = whiteout(path)
		case 3:
			entries[path] = linked(file(path, mtime), 100) // with others of the layer
		case 4:
			if len(files) > 0 {
				entries[path] = hardLink(path, files[r.IntN(len(files))])
				break
			}
			fallthrough
		default:
			entries[path] = linked(file(path, mtime), uint32(n+1))
		}
	}
	return overlay(entries).items()
}

// hardLink is what stands for a hard link to a lower layer's file.
func hardLink(path, target string) publish.Item {
	it := symlink(path, target)
	it.Entry.Xattrs = map[string][]byte{layer.LowerLink: []byte("y")}
	return it
}

func isDir(it publish.Item) bool { return it.Entry.IsDir() }

func hasChildren(entries map[string]publish.Item, path string) bool {
	for p := range entries {
		if strings.HasPrefix(p, path+"/") {
			return true
		}
	}
	return false
}

func TestMergeIsOverlay(t *testing.T) {
	for seed := range uint64(5000) {
		r := rand.New(rand.NewPCG(seed, 0))
		model := overlay{}
		var layers []iter.Seq2[publish.Item, error]
		var text strings.Builder
		for n := range 1 + r.IntN(5) {
			layer := randomLayer(r, int64(n+1), model)
			model.apply(n, layer)
			layers = append(layers, stream(layer...))
			fmt.Fprintf(&text, "layer %d: %s\n", n+1, describe(layer))
		}
		var got []publish.Item
		err := newFollower(layers).all(func(items iter.Seq2[publish.Item, error]) error {
			got = nil
			for it, err := range items {
				if err != nil {
					return err
				}
				got = append(got, it)
			}
			return nil
		})
		if got, want := inodes(got), inodes(model.items()); err != nil || got != want {
			t.Fatalf("seed %d\n%s%v, got\n%swant\n%s", seed, text.String(), err, got, want)
		}
	}
}

func describe(layer []publish.Item) string {
	var words []string
	for _, it := range layer {
		words = append(words, fmt.Sprintf("%s:%o:%d:%s", it.Path, it.Entry.Mode, len(it.Entry.Xattrs), it.Entry.Symlink))
	}
	return strings.Join(words, " ")
}
