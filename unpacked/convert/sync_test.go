package convert

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/flatrun/flatrun/unpacked/wishlist"
)

func (h *hub) sync(list string, grace time.Duration) Report {
	h.t.Helper()
	l, err := wishlist.Parse("wishes.yaml", []byte("version: 1\ncvmfs_repo: "+fqrn+"\nuser: x\noutput_format: 'http://"+h.host+"/thin/$(image)'\ninput:\n"+list))
	if err != nil {
		h.t.Fatal(err)
	}
	s := Sync{Begin: h.begin, Source: h.source, FQRN: fqrn, List: l, ListName: "wishes", Grace: grace, Thin: true}
	r, err := s.Run(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

func TestSync(t *testing.T) {
	h := newHub(t)
	base := tarLayer(t, "a=1")
	for _, tag := range []string{"1.0", "1.1", "2.0"} {
		h.push("app:"+tag, image(t, tag, base, tarLayer(t, "v="+tag)))
	}
	wishes := "  - 'http://" + h.host + "/app:1.*'\n  - 'http://" + h.host + "/no:1'\n"
	r := h.sync(wishes, time.Hour)
	if len(r.Converted) != 2 || len(r.Failures) != 1 || r.Wishes != 3 {
		t.Fatalf("first run: %+v", r)
	}
	wishes = "  - 'http://" + h.host + "/app:1.*'\n"
	revision := h.revision()
	if r = h.sync(wishes, time.Hour); r.Unchanged != 2 || len(r.Converted) != 0 || h.revision() != revision {
		t.Errorf("second run: %+v, revision %d after %d", r, h.revision(), revision)
	}
	ref, err := name.ParseReference(h.host+"/thin/app:1.0", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	thin, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := thin.ConfigFile(); err != nil || !strings.Contains(strings.Join(c.Config.Env, " "), "CVMFS_IMAGE=true") {
		t.Errorf("thin image: %v", err)
	}
}

func TestSyncRemoves(t *testing.T) {
	h := newHub(t)
	h.push("app:1", image(t, "1", tarLayer(t, "v=1")))
	h.push("app:2", image(t, "2", tarLayer(t, "v=2")))
	both := "  - 'http://" + h.host + "/app:1'\n  - 'http://" + h.host + "/app:2'\n"
	one := "  - 'http://" + h.host + "/app:1'\n"
	h.sync(both, time.Hour)
	v := h.head()
	old := flat(t, v, "/"+h.host+"/app:2")
	if r := h.sync(one, time.Hour); len(r.Removed) != 0 {
		t.Errorf("removed at once: %v", r.Removed)
	}
	h.clock = h.clock.Add(2 * time.Hour)
	if r := h.sync(one, time.Hour); len(r.Removed) != 1 {
		t.Errorf("after the grace period the name goes: %v", r.Removed)
	}
	h.clock = h.clock.Add(2 * time.Hour)
	if r := h.sync(one, time.Hour); len(r.Removed) != 2 {
		t.Errorf("then its flat image and its layer: %v", r.Removed)
	}
	v = h.head()
	if _, err := v.Lookup(t.Context(), old); err == nil {
		t.Error("the flat image is still there")
	}
	if got := text(t, v, flat(t, v, "/"+h.host+"/app:1")+"/v"); got != "1" {
		t.Errorf("the image that is wished for has %q", got)
	}
}
