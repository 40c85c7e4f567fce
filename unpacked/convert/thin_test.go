package convert

import (
	"strings"
	"testing"
	"time"

	"github.com/flatrun/flatrun/unpacked"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// TestStackCollected has two images that need something over their layers; it goes with its image.
func TestStackCollected(t *testing.T) {
	h := newHub(t)
	base := tarLayer(t, "d/", "d/f=1")
	for _, tag := range []string{"1", "2"} {
		h.push("x:"+tag, image(t, tag, base, tarLayer(t, "d/g="+tag)))
	}
	h.sync("  - 'http://"+h.host+"/x:*'\n", 0)
	v := h.head()
	stacks := map[string]string{}
	for _, tag := range []string{"1", "2"} {
		id, _ := unpacked.ImageOf(flat(t, v, "/"+h.host+"/x:"+tag) + "/.")
		stacks[tag] = unpacked.StackRoot(id)
		n, err := v.Lookup(t.Context(), stacks[tag]+"/d")
		if err != nil || n.Entry.Mode&0o7777 != 0o2755 || n.Entry.UID != 1000 || n.Entry.HasXattrs {
			t.Errorf("x:%s: /d over the layers is %+v, %v", tag, n.Entry, err)
		}
		if got := text(t, v, unpacked.Metadata+"/"+h.host+"/x:"+tag+"/thin.json"); !strings.Contains(got, "cvmfs://"+fqrn+stacks[tag]+`"`) {
			t.Errorf("x:%s: thin.json is %s", tag, got)
		}
	}
	h.sync("  - 'http://"+h.host+"/x:2'\n", time.Hour)
	if _, err := h.head().Lookup(t.Context(), stacks["1"]); err != nil {
		t.Errorf("within the grace period: %v", err)
	}
	h.clock = h.clock.Add(2 * time.Hour)
	h.sync("  - 'http://"+h.host+"/x:2'\n", time.Hour) // the image goes, and what it is made of has nobody from now on
	h.clock = h.clock.Add(2 * time.Hour)
	h.sync("  - 'http://"+h.host+"/x:2'\n", time.Hour)
	v = h.head()
	if _, err := v.Lookup(t.Context(), stacks["1"]); err == nil {
		t.Error("what lay over x:1 is there")
	}
	if _, err := v.Lookup(t.Context(), stacks["2"]+"/d"); err != nil {
		t.Errorf("what lies over x:2: %v", err)
	}
}

// TestThinOfKnownImages asks for thin images of what the repository has: made before there was anything over layers, or with
// a layer that DUCC made, whose whiteouts are files.
func TestThinOfKnownImages(t *testing.T) {
	h := newHub(t)
	top := tarLayer(t, "d/g=2", "d/.wh.f=")
	h.push("x:1", image(t, "1", tarLayer(t, "d/", "d/f=1"), top))
	h.push("plain:1", image(t, "1", tarLayer(t, "a=1")))
	for _, name := range []string{"x:1", "plain:1"} {
		h.convert(h.host+"/"+name, "")
	}
	v := h.head()
	id, _ := unpacked.ImageOf(flat(t, v, "/"+h.host+"/x:1") + "/.")
	d, err := top.Digest()
	if err != nil {
		t.Fatal(err)
	}
	mark := unpacked.LayerDir(unpacked.Digest(d.String())) + "/" + layerMark
	for _, lost := range [][]string{{unpacked.StackRoot(id)}, {unpacked.StackRoot(id), mark}} {
		tx, err := h.begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range lost {
			if err := tx.Remove(p); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tx.Commit(t.Context(), publish.CommitOptions{}); err != nil {
			t.Fatal(err)
		}
		h.forThin = false
		if r := h.convert(h.host+"/x:1", ""); !r[0].Unchanged {
			t.Errorf("without %s, for flat images: %+v", lost, r)
		}
		h.forThin = true
		if r := h.convert(h.host+"/x:1", ""); r[0].Unchanged || r[0].NewLayers != len(lost)-1 {
			t.Errorf("without %s: %+v", lost, r)
		}
		v := h.head()
		for _, p := range []string{unpacked.StackRoot(id) + "/d", mark} {
			if _, err := v.Lookup(t.Context(), p); err != nil {
				t.Errorf("without %s: %v", lost, err)
			}
		}
	}
	before := h.revision()
	for _, name := range []string{"x:1", "plain:1"} {
		if r := h.convert(h.host+"/"+name, ""); !r[0].Unchanged || h.revision() != before {
			t.Errorf("%s once more: %+v", name, r)
		}
	}
}

func TestCheckThin(t *testing.T) {
	for _, c := range []struct {
		of, to string
		ok     bool
	}{
		{"r.io/a:1", "r.io/a:1", false},
		{"r.io/a:1", "http://r.io/a:1", false},
		{"a", "docker.io/library/a:latest", false},
		{"r.io/a:1", "r.io/a:1-thin", true},
		{"r.io/a:1", "r.io/thin/a:1", true},
		{"r.io/a@sha256:30afb7a6361c385da116661c882f13d39d63f82ad44db756ca1e846aeb03ffcf", "r.io/a:1", true},
	} {
		var refs [2]unpacked.Reference
		for i, text := range []string{c.of, c.to} {
			var err error
			if refs[i], err = unpacked.ParseReference(text, ""); err != nil {
				t.Fatal(err)
			}
		}
		if err := CheckThin(refs[0], refs[1]); (err == nil) != c.ok {
			t.Errorf("%s for %s: %v", c.to, c.of, err)
		}
	}
}
