package convert

import (
	"fmt"
	"iter"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/unpacked/layer"
	"github.com/flatrun/flatrun/unpacked/publish"
)

func symlink(path, target string) publish.Item {
	return publish.Item{Path: path, Entry: catalog.Entry{Mode: unix.S_IFLNK | 0o777, Symlink: target}}
}

func implied(path string) publish.Item { return dir(path, 0, layer.Implied) }

func TestMergeFollowing(t *testing.T) {
	base := func(more ...publish.Item) iter.Seq2[publish.Item, error] {
		items := append([]publish.Item{dir("", 1), dir("/usr", 1), dir("/usr/bin", 1), file("/usr/bin/a", 1)}, more...)
		return sorted(items)
	}
	top := func(items ...publish.Item) iter.Seq2[publish.Item, error] { return sorted(append(items, implied(""))) }
	for _, tt := range []struct {
		name   string
		layers []iter.Seq2[publish.Item, error]
		want   string // names with their mtime, or part of an error after "error: "
	}{
		{"through a relative link", []iter.Seq2[publish.Item, error]{base(symlink("/bin", "usr/bin")), top(implied("/bin"), file("/bin/b", 2))},
			"/bin:0 /usr:1 /usr/bin:1 /usr/bin/a:1 /usr/bin/b:2"},
		{"through an absolute one", []iter.Seq2[publish.Item, error]{base(symlink("/bin", "/usr/bin")), top(implied("/bin"), file("/bin/b", 2))},
			"/bin:0 /usr:1 /usr/bin:1 /usr/bin/a:1 /usr/bin/b:2"},
		{"one that climbs stays inside", []iter.Seq2[publish.Item, error]{base(symlink("/bin", "../../../usr/bin")), top(implied("/bin"), file("/bin/b", 2))},
			"/bin:0 /usr:1 /usr/bin:1 /usr/bin/a:1 /usr/bin/b:2"},
		{"over a file and with a whiteout", []iter.Seq2[publish.Item, error]{base(file("/usr/bin/z", 1), symlink("/bin", "usr/bin")), top(implied("/bin"), file("/bin/a", 2), whiteout("/bin/z"))},
			"/bin:0 /usr:1 /usr/bin:1 /usr/bin/a:2"},
		{"through a link to a link", []iter.Seq2[publish.Item, error]{base(symlink("/bin", "sbin"), symlink("/sbin", "usr/bin")), top(implied("/bin"), file("/bin/b", 2))},
			"/bin:0 /sbin:0 /usr:1 /usr/bin:1 /usr/bin/a:1 /usr/bin/b:2"},
		{"through two links on one path", []iter.Seq2[publish.Item, error]{base(symlink("/x", "usr"), symlink("/usr/y", "bin")), top(implied("/x"), implied("/x/y"), file("/x/y/b", 2))},
			"/usr:1 /usr/bin:1 /usr/bin/a:1 /usr/bin/b:2 /usr/y:0 /x:0"},
		{"a link to nothing: the directory is made", []iter.Seq2[publish.Item, error]{base(symlink("/bin", "new/dir")), top(implied("/bin"), file("/bin/b", 2))},
			"/bin:0 /new:0 /new/dir:0 /new/dir/b:2 /usr:1 /usr/bin:1 /usr/bin/a:1"},
		{"a link to the root", []iter.Seq2[publish.Item, error]{base(symlink("/r", "/")), top(implied("/r"), file("/r/b", 2))},
			"/b:2 /r:0 /usr:1 /usr/bin:1 /usr/bin/a:1"},
		{"where the layer has something itself", []iter.Seq2[publish.Item, error]{base(symlink("/bin", "usr/bin")), top(implied("/bin"), file("/bin/b", 2), dir("/usr", 2), dir("/usr/bin", 2), file("/usr/bin/b", 3), file("/usr/bin/c", 2))},
			"/bin:0 /usr:2 /usr/bin:2 /usr/bin/a:1 /usr/bin/b:2 /usr/bin/c:2"},
		{"a listed directory takes the link's place", []iter.Seq2[publish.Item, error]{base(symlink("/bin", "usr/bin")), top(dir("/bin", 2), file("/bin/b", 2))},
			"/bin:2 /bin/b:2 /usr:1 /usr/bin:1 /usr/bin/a:1"},
		{"so does one made after the link was removed", []iter.Seq2[publish.Item, error]{base(symlink("/bin", "usr/bin")), top(dir("/bin", 0, layer.Implied, layer.OpaqueTrusted), file("/bin/b", 2))},
			"/bin:0 /bin/b:2 /usr:1 /usr/bin:1 /usr/bin/a:1"},
		{"and one over a link that a layer between removed", []iter.Seq2[publish.Item, error]{base(symlink("/bin", "usr/bin")), top(whiteout("/bin")), top(implied("/bin"), file("/bin/b", 3))},
			"/bin:0 /bin/b:3 /usr:1 /usr/bin:1 /usr/bin/a:1"},
		{"a link of a layer between", []iter.Seq2[publish.Item, error]{base(dir("/bin", 1)), top(symlink("/bin", "usr/bin")), top(implied("/bin"), file("/bin/b", 3))},
			"/bin:0 /usr:1 /usr/bin:1 /usr/bin/a:1 /usr/bin/b:3"},
		{"two layers through one link", []iter.Seq2[publish.Item, error]{base(symlink("/bin", "usr/bin")), top(implied("/bin"), file("/bin/b", 2)), top(implied("/bin"), whiteout("/bin/b"), file("/bin/c", 3))},
			"/bin:0 /usr:1 /usr/bin:1 /usr/bin/a:1 /usr/bin/c:3"},
		{"a hard link into a lower layer", []iter.Seq2[publish.Item, error]{base(), top(hardLink("/x", "/usr/bin/a"), file("/usr/bin/a", 2), implied("/usr"), implied("/usr/bin"))},
			"/usr:1 /usr/bin:1 /usr/bin/a:2 /x:1"},
		{"through a lower layer's links", []iter.Seq2[publish.Item, error]{base(symlink("/bin", "usr/bin"), symlink("/usr/sbin", "../bin")), top(hardLink("/x", "/usr/sbin/a"))},
			"/bin:0 /usr:1 /usr/bin:1 /usr/bin/a:1 /usr/sbin:0 /x:1"},
		{"that lies beyond a lower layer's link", []iter.Seq2[publish.Item, error]{base(symlink("/bin", "usr/bin")), top(implied("/bin"), hardLink("/bin/x", "/usr/bin/a"))},
			"/bin:0 /usr:1 /usr/bin:1 /usr/bin/a:1 /usr/bin/x:1"},
		{"to a file that came there through a link", []iter.Seq2[publish.Item, error]{base(symlink("/bin", "usr/bin")), top(implied("/bin"), file("/bin/b", 2)), top(hardLink("/x", "/bin/b"))},
			"/bin:0 /usr:1 /usr/bin:1 /usr/bin/a:1 /usr/bin/b:2 /x:2"},
		{"to a symbolic link, through which a further layer goes", []iter.Seq2[publish.Item, error]{base(symlink("/bin", "usr/bin")), top(hardLink("/x", "/bin")), top(implied("/x"), file("/x/b", 3))},
			"/bin:0 /usr:1 /usr/bin:1 /usr/bin/a:1 /usr/bin/b:3 /x:0"},
		{"to one of a layer between", []iter.Seq2[publish.Item, error]{base(), top(hardLink("/x", "/usr/bin/a")), top(hardLink("/y", "/x"), whiteout("/x"))},
			"/usr:1 /usr/bin:1 /usr/bin/a:1 /y:1"},
		{"a hard link to nothing", []iter.Seq2[publish.Item, error]{base(), top(hardLink("/x", "/usr/bin/b"))},
			"error: /x: a hard link to /usr/bin/b, which no lower layer has"},
		{"a hard link to a directory", []iter.Seq2[publish.Item, error]{base(), top(hardLink("/x", "/usr/bin"))},
			"error: /x: a hard link to the directory /usr/bin"},
		{"a hard link in the lowest layer", []iter.Seq2[publish.Item, error]{base(hardLink("/x", "/y"))},
			"error: /x: a hard link to /y, which no lower layer has"},
		{"a hard link through a circle", []iter.Seq2[publish.Item, error]{base(symlink("/a", "b"), symlink("/b", "a")), top(hardLink("/x", "/a/c"))},
			"error: more than 40 symbolic links"},
		{"in a circle", []iter.Seq2[publish.Item, error]{base(symlink("/x", "y"), symlink("/y", "x")), top(implied("/x"), file("/x/b", 2))},
			"error: more than 40 symbolic links"},
		{"where the layer has a file in the way", []iter.Seq2[publish.Item, error]{base(symlink("/bin", "usr/bin")), top(implied("/bin"), file("/bin/b", 2), file("/usr", 2))},
			"error: /usr: reached through a symbolic link"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var names []string
			err := newFollower(tt.layers).all(func(items iter.Seq2[publish.Item, error]) error {
				names = nil
				for it, err := range items {
					if err != nil {
						return fmt.Errorf("replace: %w", err)
					}
					if it.Path != "" {
						names = append(names, fmt.Sprintf("%s:%d", it.Path, it.Entry.Mtime))
					}
				}
				return nil
			})
			if part, bad := strings.CutPrefix(tt.want, "error: "); bad {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("error is %v, want one with %q", err, part)
				}
				return
			}
			if got := strings.Join(names, " "); err != nil || got != tt.want {
				t.Errorf("%v\n got %s\nwant %s", err, got, tt.want)
			}
		})
	}
}
