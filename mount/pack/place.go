package pack

import (
	"crypto/sha1"
	"encoding/hex"

	"github.com/flatrun/flatrun/mount/catalog"
	"github.com/flatrun/flatrun/unpacked"
)

// Root is the directory of all packs. It has no catalog of its own: the root catalog, which every client has, leads to packs
// in one step.
const Root = "/.packs"

// Dir is where the pack of an image is: by its id for a flat image, whatever names it has, else by its path.
func Dir(image string) string {
	image = catalog.Clean(image)
	if id, ok := unpacked.ImageOf(image); ok && image == unpacked.FlatRoot(id) {
		return Root + "/" + id.Algorithm() + "-" + id.Hex()
	}
	sum := sha1.Sum([]byte(image))
	return Root + "/path-" + hex.EncodeToString(sum[:])
}
