package unpacked

import (
	"path"
	"strings"
)

// The top level of an unpacked repository besides the registries' directories.
const (
	Layers      = "/.layers"
	Flats       = "/.flat"
	Stacks      = "/.stacks"
	Metadata    = "/.metadata"
	PodmanStore = "/podmanStore"
	// CatalogMarker is the empty file that makes its directory the root of a
	// nested catalog.
	CatalogMarker = ".cvmfscatalog"
)

// LayerDir is the directory of everything about one layer; the digest is that
// of the compressed blob, as the manifest has it.
func LayerDir(layer Digest) string { return Layers + sharded(layer) }

// LayerRoot is the layer's unpacked tree.
func LayerRoot(layer Digest) string { return LayerDir(layer) + "/layerfs" }

// LayerOrigin is the file that names the images a layer was first seen in.
func LayerOrigin(layer Digest) string { return LayerDir(layer) + "/.metadata/origin.json" }

// LayerConfig is the file that podman's additional store reads about a layer.
func LayerConfig(layer Digest) string { return LayerDir(layer) + "/.metadata/layers.json" }

// FlatRoot is the merged root file system of an image; the image's id is the
// digest of its configuration.
func FlatRoot(image Digest) string { return Flats + sharded(image) }

// StackRoot is the tree that lies over an image's layers where they are stacked,
// if they alone would come to something else than the image.
func StackRoot(image Digest) string { return Stacks + sharded(image) }

func sharded(d Digest) string {
	digits := d.Hex()
	if len(digits) < 2 {
		return "/" + digits
	}
	return "/" + digits[:2] + "/" + digits
}

// Link is the text of a symbolic link at from (an absolute path in the
// repository) that leads to the absolute path to. It is relative, so that it
// holds wherever the repository is mounted.
func Link(from, to string) string {
	up := strings.Count(path.Clean("/"+from), "/") - 1
	return strings.Repeat("../", up) + strings.TrimPrefix(path.Clean("/"+to), "/")
}

// ImageOf is the reverse of FlatRoot for a link's target or a path inside a flat
// image: the image's id. It answers false for any other path.
func ImageOf(target string) (Digest, bool) {
	parts := strings.Split(path.Clean("/"+target), "/")
	for i, part := range parts {
		if part != ".flat" || i+2 >= len(parts) || !strings.HasPrefix(parts[i+2], parts[i+1]) || len(parts[i+1]) != 2 {
			continue
		}
		for algorithm, digits := range digestLen {
			if len(parts[i+2]) == digits {
				d, err := ParseDigest(algorithm + ":" + parts[i+2])
				return d, err == nil
			}
		}
	}
	return "", false
}
