package session_test

import (
	"testing"

	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/mount/repotest"
)

// An image that was published after the session began is found long before the manifest's time to live is over.
func TestNewImageIsFound(t *testing.T) {
	needFUSE(t)
	r, _, repos := serve(t)
	w := newWorld(t, repos, "")
	c := w.inside("registry.example.org/library/tool:1.0")
	r.Publish(t, repotest.Rev{Tree: append(imageTree(), repotest.File{Path: "/fresh/motd", Content: "new\n"})})
	s, err := enter.Dial(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	eventually(t, "the new image is found", func() bool {
		found, err := s.Resolve("cvmfs://" + r.FQRN + "/fresh")
		return err == nil && found.Revision == 2
	})
	if got := c.do("cat etc/motd"); got != "hello" {
		t.Errorf("the container that was there reads %q", got)
	}
}
