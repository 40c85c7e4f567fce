package convert

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/flatrun/flatrun/unpacked/wishlist"
)

func (h *hub) sync(list string, grace time.Duration) Report {
	h.t.Helper()
	return h.syncTo(h.host, list, grace)
}

// syncTo pushes thin images to a registry; "": none.
func (h *hub) syncTo(registry, list string, grace time.Duration) Report {
	h.t.Helper()
	l, err := wishlist.Parse("wishes.yaml", []byte("version: 1\ncvmfs_repo: "+fqrn+"\nuser: x\noutput_format: 'http://"+cmp.Or(registry, h.host)+"/thin/$(image)'\ninput:\n"+list))
	if err != nil {
		h.t.Fatal(err)
	}
	s := Sync{Begin: h.begin, Source: h.source, FQRN: fqrn, List: l, ListName: "wishes", Grace: grace, Thin: registry != ""}
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

// TestSyncRemovesBesideFailures removes what nobody wishes for though some wishes fail, but nothing that these may name.
func TestSyncRemovesBesideFailures(t *testing.T) {
	h := newHub(t)
	for _, tag := range []string{"app:1", "app:2", "lib:1", "tool:1"} {
		h.push(tag, image(t, tag, tarLayer(t, "v="+tag)))
	}
	wishes := func(list ...string) (lines string) {
		for _, l := range list {
			lines += "  - 'http://" + h.host + "/" + l + "'\n"
		}
		return lines
	}
	h.sync(wishes("app:1", "app:2", "lib:1", "tool:1"), time.Hour)
	for _, c := range []struct {
		wishes  []string
		removed string
	}{
		{[]string{"app:1", "app:2", "lib:1", "Not a name"}, ""},
		{[]string{"app:*", "lib:1", "gone:1"}, "tool:1"},
		{[]string{"app:*", "lib:2"}, "lib:1"},
		{[]string{"app:2", "no/where:*"}, "app:1"},
	} {
		h.sync(wishes(c.wishes...), time.Hour)
		h.clock = h.clock.Add(2 * time.Hour)
		var names []string
		for _, name := range h.sync(wishes(c.wishes...), time.Hour).Removed {
			if name, ok := strings.CutPrefix(name, h.host+"/"); ok {
				names = append(names, name)
			}
		}
		if got := strings.Join(names, " "); got != c.removed {
			t.Errorf("wishes %q: %q is removed, want %q", c.wishes, got, c.removed)
		}
	}
}

// TestSyncKeepsUnsure keeps what a registry that is away was asked for, also where it was missing before.
func TestSyncKeepsUnsure(t *testing.T) {
	h := newHub(t)
	h.push("app:1", image(t, "1", tarLayer(t, "v=1")))
	h.push("app:2", image(t, "2", tarLayer(t, "v=2")))
	one := "  - 'http://" + h.host + "/app:1'\n"
	h.sync(one+"  - 'http://"+h.host+"/app:2'\n", time.Hour)
	h.sync(one, time.Hour)
	h.clock = h.clock.Add(2 * time.Hour)
	h.source.Transport = refusing{}
	for _, list := range []string{one + "  - 'http://" + h.host + "/app:2'\n", "  - 'http://" + h.host + "/app:*'\n"} {
		if r := h.syncTo("", list, 0); len(r.Removed) != 0 || len(r.Failures) == 0 {
			t.Errorf("%s: %+v", list, r)
		}
	}
}

// refusing is a network without registries.
type refusing struct{}

func (refusing) RoundTrip(r *http.Request) (*http.Response, error) {
	return nil, fmt.Errorf("%s is away", r.URL.Host)
}

// TestSyncThinLater has thin images pushed of what is there: the registry was away, or nobody asked for them.
func TestSyncThinLater(t *testing.T) {
	h := newHub(t)
	h.push("app:1", image(t, "1", tarLayer(t, "v=1")))
	wish := "  - 'http://" + h.host + "/app:1'\n"
	if r := h.syncTo("", wish, time.Hour); len(r.Converted) != 1 || len(r.Pushed) != 0 {
		t.Fatalf("without: %+v", r)
	}
	for range 2 {
		if r := h.syncTo("127.0.0.1:1", wish, time.Hour); len(r.Failures) != 1 || !strings.Contains(r.Failures[0], "push thin image 127.0.0.1:1/thin/app:1") {
			t.Errorf("to a registry that is away: %+v", r)
		}
	}
	for _, pushed := range []int{1, 0} {
		if r := h.sync(wish, time.Hour); r.Unchanged != 1 || len(r.Pushed) != pushed {
			t.Errorf("to one that is there, %d are to be pushed: %+v", pushed, r)
		}
	}
	before := h.revision()
	if r := h.syncTo("", wish, time.Hour); r.Unchanged != 1 || h.revision() != before {
		t.Errorf("without again: %+v", r)
	}
	h.push("app:1", image(t, "2", tarLayer(t, "v=2")))
	if r := h.sync(wish, time.Hour); len(r.Converted) != 1 || len(r.Pushed) != 1 {
		t.Errorf("of another image: %+v", r)
	}
}

// TestSyncPlatform asks for another platform than the last time.
func TestSyncPlatform(t *testing.T) {
	h := newHub(t)
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"amd64", "arm64"} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image(t, arch, tarLayer(t, "arch="+arch)), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	ref, err := name.ParseReference(h.host+"/multi:1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	wish := "  - 'http://" + h.host + "/multi:1'\n"
	for _, tt := range []struct {
		platforms []string
		unchanged int
		plain     string
	}{
		{[]string{"linux/amd64"}, 0, "amd64"}, {[]string{"linux/amd64"}, 1, "amd64"}, {[]string{"linux/arm64"}, 0, "arm64"}, {[]string{"linux/arm64"}, 1, "arm64"},
		{[]string{"linux/amd64", "linux/arm64"}, 0, "amd64"}, {[]string{"linux/amd64", "linux/arm64"}, 1, "amd64"}, {[]string{"linux/arm64", "linux/amd64"}, 0, "arm64"},
	} {
		h.source.Platforms = tt.platforms
		if r := h.sync(wish, time.Hour); r.Unchanged != tt.unchanged || len(r.Failures) > 0 {
			t.Errorf("%v: %+v", tt.platforms, r)
		}
		v := h.head()
		if got := text(t, v, flat(t, v, "/"+h.host+"/multi:1")+"/arch"); got != tt.plain {
			t.Errorf("%v: the plain name leads to %s", tt.platforms, got)
		}
	}
}

// TestSyncInterrupted ends a run in its second revision: the report is of the first one.
func TestSyncInterrupted(t *testing.T) {
	h := newHub(t)
	for i := range imagesARevision + 2 {
		h.push(fmt.Sprint("app:", i), image(t, "x", tarLayer(t, fmt.Sprint("v=", i))))
	}
	l, err := wishlist.Parse("wishes.yaml", []byte("version: 1\ncvmfs_repo: "+fqrn+"\ninput: ['http://"+h.host+"/app:*']"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	images := map[string]bool{}
	s := Sync{Begin: h.begin, Source: h.source, FQRN: fqrn, List: l, ListName: "wishes", Progress: func(p Progress) {
		if images[p.Image] = true; len(images) == imagesARevision+2 {
			cancel()
		}
	}}
	before := h.revision()
	r, err := s.Run(ctx)
	if err == nil || len(r.Converted) != imagesARevision || len(r.Failures) != 0 || r.Revision != before+1 || h.revision() != before+1 {
		t.Errorf("%+v, %v", r, err)
	}
}
