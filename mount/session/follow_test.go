package session_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/flatrun/flatrun/mount/enter"
	"github.com/flatrun/flatrun/mount/repotest"
)

const tool = "registry.example.org/library/tool:1.0"

// toolAt is the repository of imageTree with what a revision of the tool may change: a file that is there always, one in a
// directory and in a nested catalog of their own, one of many chunks, and one that only this revision has.
func toolAt(n int) []repotest.File {
	image := "/.flat/" + flatID[:2] + "/" + flatID
	text := fmt.Sprintf("revision %d\n", n)
	return append(imageTree(),
		repotest.File{Path: image + "/changes", Content: text}, repotest.File{Path: image + "/late", Content: text},
		repotest.File{Path: image + "/later", Content: text}, repotest.File{Path: image + "/open", Content: strings.Repeat(text, 1<<14), Chunk: 1 << 16},
		repotest.File{Path: image + "/dir/late", Content: text}, repotest.File{Path: image + "/nest", Kind: repotest.Dir, Nested: true},
		repotest.File{Path: image + "/nest/late", Content: text}, repotest.File{Path: image + fmt.Sprintf("/only%d", n), Content: text})
}

// newTool serves the first revision of the tool to a session that looks for new ones all the time.
func newTool(t *testing.T) (*repotest.Repo, *world) {
	t.Helper()
	needFUSE(t)
	r := repotest.Build(t, repotest.Spec{FQRN: "test.example.org", Tree: toolAt(1)})
	lines := repository(repotest.Serve(t, r.Dir).URL, r.KeyPath) + "\nmax_ttl: 1"
	return r, newWorld(t, map[string]string{r.FQRN: lines}, "")
}

// shows checks that all of a container's view is of one revision.
func (i *inside) shows(n int, files ...string) {
	i.t.Helper()
	want := fmt.Sprintf("revision %d", n)
	for _, name := range files {
		if got := i.do("cat " + name); got != want {
			i.t.Errorf("%s reads %q, want %q", name, got, want)
		}
	}
	if got := i.do("echo only*"); got != fmt.Sprintf("only%d", n) {
		i.t.Errorf("a container of revision %d has %s", n, got)
	}
}

// held is how many containers keep each revision.
func (w *world) held() string {
	w.t.Helper()
	s, err := enter.Dial(w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	defer s.Close()
	status, err := s.Status()
	if err != nil || len(status.Mounts) != 1 {
		w.t.Fatalf("%+v, %v", status, err)
	}
	var words []string
	for _, h := range status.Mounts[0].Held {
		words = append(words, fmt.Sprintf("%d:%d", h.Revision, h.Containers))
	}
	return strings.Join(words, " ")
}

func (i *inside) end() {
	i.in.Close()
	i.cmd.Wait()
}

// A container keeps the revision it began with: what it looks at for the first time too, and whatever becomes of the server.
// One that follows moves on, and each new one gets what is there when it starts.
func TestContainerKeepsRevision(t *testing.T) {
	r, w := newTool(t)
	first, follower := w.inside(tool), w.insideAs("follow", tool)
	first.shows(1, "changes")
	follower.shows(1, "changes")
	for _, c := range []*inside{first, follower} {
		c.do("exec 3<open; head -n 1 <&3")
	}
	r.Publish(t, repotest.Rev{Tree: toolAt(2)})
	eventually(t, "the new revision shows", func() bool { return follower.do("cat changes") == "revision 2" })
	second := w.inside(tool)
	follower.shows(2, "late", "dir/late", "nest/late")
	second.shows(2, "changes", "late", "dir/late", "nest/late", "open")
	first.shows(1, "changes", "late", "dir/late", "nest/late", "open")
	for _, c := range []*inside{first, follower} { // more than the kernel can have read ahead
		if got := c.do("sort -u <&3"); got != "revision 1" {
			t.Errorf("a file that was open reads %q", got)
		}
	}
	if got := w.held(); got != "1:1 2:1" {
		t.Errorf("held are %s", got)
	}
	if !w.resumable() {
		return
	}
	w.killed()
	first.shows(1, "later", "open", "nest/late")
	second.shows(2, "later", "open", "nest/late")
	r.Publish(t, repotest.Rev{Tree: toolAt(3)})
	eventually(t, "the third revision shows", func() bool { return follower.do("cat changes") == "revision 3" })
	third := w.inside(tool)
	for n, c := range []*inside{first, second, third} {
		c.shows(n+1, "changes", "later", "dir/late")
	}
	w.killed()
	for n, c := range []*inside{first, second, third} {
		c.shows(n+1, "changes", "late", "nest/late")
	}
	follower.shows(3, "late", "later")
	if got := w.held(); got != "1:1 2:1 3:1" {
		t.Errorf("held are %s", got)
	}
}

// A revision goes with its last container; those that are in use stay.
func TestRevisionDropped(t *testing.T) {
	r, w := newTool(t)
	first := w.inside(tool)
	r.Publish(t, repotest.Rev{Tree: toolAt(2)})
	eventually(t, "new containers get the new revision", func() bool { return w.mustFind(tool).Revision == 2 })
	second := w.inside(tool)
	first.end()
	eventually(t, "the first revision is dropped", func() bool { return w.held() == "2:1" })
	second.shows(2, "changes", "late", "nest/late")
	second.end()
	if got := w.held(); got != "2:0" {
		t.Errorf("held are %s: what the next container gets is kept", got)
	}
}

// A revision that is refused changes nothing for anybody.
func TestRefusedRevision(t *testing.T) {
	r, w := newTool(t)
	first := w.inside(tool)
	r.Publish(t, repotest.Rev{Tree: toolAt(2)})
	eventually(t, "new containers get the new revision", func() bool { return w.mustFind(tool).Revision == 2 })
	r.Publish(t, repotest.Rev{Tree: toolAt(3)})
	m := &r.Manifest
	m.Revision, m.Timestamp = 1, m.Timestamp-10_000
	r.SignManifest(t, nil)
	s, err := enter.Dial(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Refresh(r.FQRN); err == nil || !strings.Contains(err.Error(), "older than") {
		t.Errorf("an older manifest: %v", err)
	}
	if err := s.Refresh("other.example.org"); err == nil || !strings.Contains(err.Error(), "not mounted") {
		t.Errorf("a repository that is not mounted: %v", err)
	}
	first.shows(1, "changes", "late")
	w.inside(tool).shows(2, "changes", "late")
	if w.resumable() {
		w.killed()
		first.shows(1, "later", "nest/late")
	}
}
