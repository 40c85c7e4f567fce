package pack

import "github.com/flatrun/flatrun/mount/cas"

// partSize is how many decompressed bytes make a part, at most: most starts fit into one.
const partSize = 48 << 20

// Build makes a pack of objects, in their order, and hands each part to emit as soon as it is full. open answers an object's
// content, nil to leave it out. It returns the objects that were packed, with their sizes: the profile to store beside them.
func Build(objects []cas.Object, compress Compress, open func(cas.Object) ([]byte, error), emit func(part []byte) error) (packed []cas.Object, err error) {
	var batch []cas.Object
	var contents [][]byte
	size := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		part, err := Part(batch, contents, compress)
		if err != nil {
			return err
		}
		batch, contents, size = nil, nil, 0
		return emit(part)
	}
	seen := make(map[key]bool)
	for _, o := range objects {
		if seen[keyOf(o)] {
			continue
		}
		seen[keyOf(o)] = true
		content, err := open(o)
		if err != nil {
			return nil, err
		}
		if content == nil || len(content) > MaxPart/2 {
			continue // large ones gain nothing from company
		}
		if size+len(content) > partSize && size > 0 {
			if err := flush(); err != nil {
				return nil, err
			}
		}
		o.Size = int64(len(content))
		batch, contents, packed, size = append(batch, o), append(contents, content), append(packed, o), size+len(content)
	}
	return packed, flush()
}
