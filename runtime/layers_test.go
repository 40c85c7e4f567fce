package runtime

import (
	"slices"
	"testing"
)

// TestLayers has a thin image below the user's overlays, in the order in which they are stacked.
func TestLayers(t *testing.T) {
	req := Request{Image: Image{Path: "/base"}, Overlays: []Overlay{
		{Path: "/l1", ReadOnly: true, Layer: true}, {Path: "/l2", ReadOnly: true, Layer: true}, {Path: "/ro", ReadOnly: true}, {Path: "/rw"},
	}}
	m := overlay(req)
	if len(m) != 1 || !slices.Equal(m[0].Options, []string{"x-layer=/l1", "x-layer=/l2", "x-lower=/ro", "x-upper=/rw"}) {
		t.Fatalf("%+v", m)
	}
	spec, err := Spec(Request{Image: req.Image, Overlays: req.Overlays, Args: []string{"/bin/true"}}, Host{Cwd: "/"})
	if err != nil {
		t.Fatal(err)
	}
	root, _, err := rootOf(spec)
	if err != nil || root.Image != "/base" || !slices.Equal(root.Layers, []string{"/l1", "/l2"}) || !slices.Equal(root.Lower, []string{"/ro"}) || root.Upper != "/rw" {
		t.Errorf("%+v, %v", root, err)
	}
}
