package convert

import (
	"encoding/json"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/unpacked"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// checkPodman reads the store as containers/storage does: each image's chain of layers leads through directories whose
// short links name each other. It answers the images' names by id, and the layers.
func checkPodman(t *testing.T, v *repo.Revision) (names map[string][]string, layers map[string]podmanLayer) {
	t.Helper()
	var images []podmanImage
	var rows []podmanLayer
	for file, into := range map[string]any{podmanImages + "/images.json": &images, podmanLayers + "/layers.json": &rows} {
		if err := json.Unmarshal([]byte(text(t, v, file)), into); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	names, layers = map[string][]string{}, map[string]podmanLayer{}
	for _, l := range rows {
		layers[l.ID] = l
		checkPodmanLayer(t, v, l, layers)
	}
	for _, img := range images {
		names[img.ID] = img.Names
		if _, ok := layers[img.Layer]; !ok {
			t.Errorf("image %s: no layer %s", img.ID, img.Layer)
		}
		text(t, v, podmanImages+"/"+img.ID+"/manifest")
	}
	return names, layers
}

func checkPodmanLayer(t *testing.T, v *repo.Revision, l podmanLayer, known map[string]podmanLayer) {
	t.Helper()
	dir := podmanOverlay + "/" + l.ID
	n, err := v.Lookup(t.Context(), dir+"/diff")
	if err != nil {
		t.Errorf("layer %s: %v", l.ID, err)
		return
	}
	if _, err := v.Lookup(t.Context(), path.Join(dir, n.Entry.Symlink)); err != nil {
		t.Errorf("layer %s: its tree: %v", l.ID, err)
	}
	var lower []string
	for id := l.Parent; id != ""; id = known[id].Parent {
		lower = append(lower, id)
	}
	if len(lower) == 0 {
		return
	}
	for i, link := range strings.Split(text(t, v, dir+"/lower"), ":") {
		n, err := v.Lookup(t.Context(), podmanOverlay+"/"+link)
		if err != nil || i >= len(lower) || n.Entry.Symlink != "../"+lower[i]+"/diff" {
			t.Errorf("layer %s: lower %d is %s → %s (%v)", l.ID, i, link, n.Entry.Symlink, err)
		}
	}
}

func TestPodmanStore(t *testing.T) {
	h := newHub(t)
	base, two := tarLayer(t, "a=1"), tarLayer(t, "b=22")
	h.push("x:1", image(t, "one", base, two))
	h.push("x:2", image(t, "two", base, tarLayer(t, "c=3"), two))
	h.convert(h.host+"/x:1", "")
	h.convert(h.host+"/x:2", "")
	names, layers := checkPodman(t, h.head())
	if len(names) != 2 || len(layers) != 4 { // two lies on different layers in the two images
		t.Errorf("%v\n%v", names, layers)
	}
	for id, l := range layers {
		if l.DiffSize != 2048 || l.CompressedSize == 0 {
			t.Errorf("layer %s: %+v", id, l)
		}
	}
	// A tag that moves on takes its name along.
	h.push("x:1", image(t, "three", two))
	r := h.convert(h.host+"/x:1", "")
	names, _ = checkPodman(t, h.head())
	for id, have := range names {
		if want := "sha256:"+id == string(r[0].ID); slices.Contains(have, h.host+"/x:1") != want {
			t.Errorf("image %s is called %q", id, have)
		}
	}
}

func TestPodmanRemoves(t *testing.T) {
	h := newHub(t)
	base := tarLayer(t, "a=1")
	h.push("x:1", image(t, "one", base, tarLayer(t, "b=2")))
	h.push("x:2", image(t, "two", base, tarLayer(t, "c=3")))
	h.push("x:3", image(t, "two", base, tarLayer(t, "c=3")))
	wish := func(tags ...string) (lines string) {
		for _, tag := range tags {
			lines += "  - 'http://" + h.host + "/x:" + tag + "'\n"
		}
		return lines
	}
	h.sync(wish("1", "2", "3"), 0)
	if names, layers := checkPodman(t, h.head()); len(names) != 2 || len(layers) != 3 {
		t.Fatalf("%v\n%v", names, layers)
	}
	h.sync(wish("1", "2"), 0) // the image keeps its other name
	names, layers := checkPodman(t, h.head())
	if len(names) != 2 || len(layers) != 3 || strings.Contains(text(t, h.head(), podmanImages+"/images.json"), "x:3") {
		t.Errorf("without a name: %v\n%v", names, layers)
	}
	h.sync(wish("1"), 0)
	v := h.head()
	names, layers = checkPodman(t, v)
	if len(names) != 1 || len(layers) != 2 {
		t.Errorf("without an image: %v\n%v", names, layers)
	}
	for dir, want := range map[string]int{podmanOverlay: 4, podmanLinks: 2, podmanImages: 4} { // l and the marker; both indexes and the marker
		have, err := list(t.Context(), v, dir)
		if err != nil || len(have) != want {
			t.Errorf("%s has %q, %v", dir, have, err)
		}
	}
	h.sync("", 0)
	if names, layers := checkPodman(t, h.head()); len(names)+len(layers) != 0 {
		t.Errorf("without any wish: %v\n%v", names, layers)
	}
}

// TestPodmanDUCC extends a store as DUCC leaves it: rows twice, links with names of its own, one for each image.
func TestPodmanDUCC(t *testing.T) {
	h := newHub(t)
	base := tarLayer(t, "a=1")
	old := image(t, "old", base)
	config, err := old.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	diff, err := base.DiffID()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := base.Digest()
	if err != nil {
		t.Fatal(err)
	}
	tx, err := h.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	row := podmanLayer{ID: diff.Hex, Created: "2026-01-01T00:00:00Z", CompressedDigest: digest.String(), DiffDigest: diff.String()}
	put := func(name, content string) {
		if err := tx.PutFile(name, 0o644, strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	link := func(name, target string) {
		if err := tx.Symlink(name, target); err != nil {
			t.Fatal(err)
		}
	}
	index := func(name string, rows any) {
		b, err := json.Marshal(rows)
		if err != nil {
			t.Fatal(err)
		}
		put(name, string(b))
	}
	index(podmanLayers+"/layers.json", []podmanLayer{row, row})
	index(podmanImages+"/images.json", []podmanImage{{ID: config.Hex, Names: []string{"registry.example.org/old:1"}, Layer: diff.Hex}})
	put(podmanImages+"/"+config.Hex+"/manifest", "{}")
	root := unpacked.LayerRoot(unpacked.Digest(digest.String()))
	put(root+"/a", "1")
	put(podmanOverlay+"/"+diff.Hex+"/link", "DUCC1")
	link(podmanOverlay+"/"+diff.Hex+"/diff", "../../.."+root)
	link(podmanLinks+"/DUCC1", "../"+diff.Hex+"/diff")
	link(podmanLinks+"/DUCC2", "../"+diff.Hex+"/diff")
	if _, err := tx.Commit(t.Context(), publish.CommitOptions{}); err != nil {
		t.Fatal(err)
	}

	h.push("new:1", image(t, "new", base, tarLayer(t, "b=2")))
	h.convert(h.host+"/new:1", "")
	names, layers := checkPodman(t, h.head())
	if len(names) != 2 || len(layers) != 2 {
		t.Errorf("%v\n%v", names, layers)
	}

	// DUCC's image and then all go; so do all links.
	if tx, err = h.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer tx.Abort()
	store, err := readPodmanStore(t.Context(), tx)
	if err != nil {
		t.Fatal(err)
	}
	gone := map[string]bool{"registry.example.org/old:1": true, h.host + "/new:1": true}
	removed := map[string]bool{unpacked.LayerDir(unpacked.Digest(digest.String())): true}
	if err := store.remove(t.Context(), tx, gone, removed); err != nil {
		t.Fatal(err)
	}
	if err := store.write(tx); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Commit(t.Context(), publish.CommitOptions{}); err != nil {
		t.Fatal(err)
	}
	v := h.head()
	if names, layers := checkPodman(t, v); len(names)+len(layers) != 0 {
		t.Errorf("%v\n%v", names, layers)
	}
	if have, err := list(t.Context(), v, podmanLinks); err != nil || len(have) != 0 {
		t.Errorf("links %q, %v", have, err)
	}
}
