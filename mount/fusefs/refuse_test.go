package fusefs

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/flatrun/flatrun/mount/repotest"
)

// Without permission nothing is shown that was not read before; what was read is read on, and with permission all is there.
func TestRefuse(t *testing.T) {
	long := strings.Repeat("a file that is being read\n", 100_000)
	r := repotest.Build(t, repotest.Spec{Tree: []repotest.File{
		{Path: "/read", Content: long}, {Path: "/seen", Content: "seen"}, {Path: "/dir/inside", Content: "inside"}, {Path: "/link", Kind: repotest.Link, Content: "read"},
	}})
	m := mountConfig(t, r.Config(t), nil)
	open, err := os.Open(m.path("read"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if _, err := open.ReadAt(make([]byte, 10), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(m.path("seen")); err != nil {
		t.Fatal(err)
	}
	m.Refuse(errors.New("not a member any more"))
	last := make([]byte, 10)
	if _, err := open.ReadAt(last, int64(len(long)-len(last))); err != nil || string(last) != long[len(long)-len(last):] {
		t.Errorf("an open file reads %q, %v", last, err)
	}
	for _, name := range []string{"seen", "dir/inside"} {
		if _, err := os.ReadFile(m.path(name)); !errors.Is(err, syscall.EACCES) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.ReadDir(m.dir); !errors.Is(err, syscall.EACCES) {
		t.Errorf("a listing: %v", err)
	}
	if _, err := os.Readlink(m.path("link")); !errors.Is(err, syscall.EACCES) {
		t.Errorf("a link: %v", err)
	}
	if f := m.Failures(); len(f) == 0 || !strings.Contains(f[0].Err, "not a member any more") {
		t.Errorf("the failures are %+v", f)
	}
	m.Refuse(nil)
	if all := contentsOf(t, m.dir); all["/seen"] != "seen" || all["/dir/inside"] != "inside" || all["/read"] != long {
		t.Errorf("with permission %d files are there", len(all))
	}
}
