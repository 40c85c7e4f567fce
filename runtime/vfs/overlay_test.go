package vfs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

func TestLowerOptions(t *testing.T) {
	few, many := []string{"a", "b"}, slices.Repeat([]string{"m"}, 129)
	if got := lowerOptions(few); !slices.Equal(got, []string{"lowerdir=a:b"}) {
		t.Errorf("%q", got)
	}
	if got := lowerOptions(many[:128]); len(got) != 1 || len(got[0]) != len("lowerdir=")+maxOption-1 {
		t.Errorf("%q", got)
	}
	if got := lowerOptions(many); len(got) != 129 || got[128] != "lowerdir+=m" {
		t.Errorf("%q", got)
	}
}

// terse is a directory in whose file system names have, it says, no bytes: the official client's mounts are like that.
type terse struct{ *fs.LoopbackNode }

func (*terse) Statfs(context.Context, *fuse.StatfsOut) syscall.Errno { return 0 }

func (*terse) WrapChild(_ context.Context, node fs.InodeEmbedder) fs.InodeEmbedder {
	return &terse{node.(*fs.LoopbackNode)}
}

// TestManyLayers enters a stack of layers, a few or so many that one option has no room for their names, on a file system
// as it is and on one that does not say how long names may be.
func TestManyLayers(t *testing.T) {
	needNamespaces(t)
	dir := t.TempDir()
	const layers = 100
	for i := range layers {
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.MkdirAll(filepath.Join(name, "proc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(name, "uppermost"), fmt.Append(nil, i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	places := []string{dir}
	if mounted := mountTerse(t, dir); mounted != "" {
		places = append(places, mounted)
	}
	for _, place := range places {
		for _, n := range []int{2, layers} {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=layers%d:%s", childVariable, n, place), "FLATRUN_ENTER=own;")
			out, err := cmd.CombinedOutput()
			if want := fmt.Sprintln(n - 1); string(out) != want || err != nil {
				t.Errorf("%d layers in %s: %v, %.500q, want %q", n, place, err, out, want)
			}
		}
	}
}

// enterLayers is TestManyLayers' child.
func enterLayers(n int, place string) error {
	root := Root{Image: filepath.Join(place, "0")}
	for i := 1; i < n; i++ {
		root.Layers = append(root.Layers, filepath.Join(place, fmt.Sprint(i)))
	}
	tree, err := Build(root, []Mount{{Kind: Bind, Source: "/proc", Target: "/proc"}})
	if err != nil {
		return err
	}
	if err := tree.Enter(); err != nil {
		return err
	}
	text, err := os.ReadFile("/uppermost")
	fmt.Println(strings.TrimSpace(string(text)))
	return err
}

// mountTerse mounts a directory once more, or answers "" where that cannot be.
func mountTerse(t *testing.T, dir string) string {
	t.Helper()
	if _, err := exec.LookPath("fusermount3"); err != nil {
		t.Log(err)
		return ""
	}
	root, err := fs.NewLoopbackRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	mounted := t.TempDir()
	server, err := fs.Mount(mounted, &terse{root.(*fs.LoopbackNode)}, &fs.Options{})
	if err != nil {
		t.Log(err)
		return ""
	}
	t.Cleanup(func() {
		if err := server.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return mounted
}
