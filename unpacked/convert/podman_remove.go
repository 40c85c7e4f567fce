package convert

import (
	"context"
	"path"
	"slices"

	"github.com/flatrun/flatrun/mount/repo"
	"github.com/flatrun/flatrun/unpacked"
	"github.com/flatrun/flatrun/unpacked/publish"
)

// remove takes names out of the store, then the images that neither have a name nor a flat tree any more or that lost a
// layer, then the layers that no image is made of. removed are the directories of flat images and layers that go.
func (s *podmanStore) remove(ctx context.Context, tx *publish.Tx, names, removed map[string]bool) error {
	for i := range s.images {
		kept := slices.DeleteFunc(slices.Clone(s.images[i].Names), func(n string) bool { return names[n] })
		if len(kept) < len(s.images[i].Names) {
			s.images[i].Names, s.changed = kept, true
		}
	}
	byID := map[string]podmanLayer{}
	for _, l := range s.layers {
		byID[l.ID] = l
	}
	used := map[string]bool{}
	var images []podmanImage
	for _, img := range s.images {
		chain, whole := podmanChain(img, byID, removed)
		if !whole || len(img.Names) == 0 && removed[podmanFlat(img)] {
			if err := tx.Remove(podmanImages + "/" + img.ID); err != nil {
				return err
			}
			continue
		}
		images = append(images, img)
		for _, id := range chain {
			used[id] = true
		}
	}
	if len(images) == len(s.images) {
		return nil
	}
	s.images, s.changed = images, true
	return s.removeLayers(ctx, tx, used)
}

// podmanFlat is the directory of the flat image of the same configuration.
func podmanFlat(img podmanImage) string {
	id, err := unpacked.ParseDigest("sha256:" + img.ID)
	if err != nil {
		return ""
	}
	return unpacked.FlatRoot(id)
}

// podmanChain are the ids of an image's layers; whole is false if one of them goes.
func podmanChain(img podmanImage, byID map[string]podmanLayer, removed map[string]bool) (chain []string, whole bool) {
	for id := img.Layer; id != "" && len(chain) <= len(byID); id = byID[id].Parent {
		chain = append(chain, id)
		if d, err := unpacked.ParseDigest(byID[id].CompressedDigest); err == nil && removed[unpacked.LayerDir(d)] {
			return chain, false
		}
	}
	return chain, true
}

// removeLayers drops the layers that are not used, and the short links that lead to them.
func (s *podmanStore) removeLayers(ctx context.Context, tx *publish.Tx, used map[string]bool) error {
	gone := map[string]bool{}
	s.layers = slices.DeleteFunc(s.layers, func(l podmanLayer) bool {
		if used[l.ID] {
			return false
		}
		gone[l.ID] = true
		return true
	})
	for id := range gone {
		if err := tx.Remove(podmanOverlay + "/" + id); err != nil {
			return err
		}
	}
	return visit(ctx, tx.Base(), podmanLinks, func(n repo.Node) error {
		// "../ID/diff"; DUCC makes one for each layer and image.
		if gone[path.Base(path.Dir(n.Entry.Symlink))] {
			return tx.Remove(podmanLinks + "/" + n.Entry.Name)
		}
		return nil
	})
}
