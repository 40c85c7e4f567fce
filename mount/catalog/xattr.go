package catalog

import (
	"errors"
	"fmt"
	"slices"
)

// The blob of the xattr column: version, count, then per attribute the two
// lengths, the key and the value. One byte each, hence the limits.
const (
	xattrVersion = 1
	maxXattr     = 255
)

// ParseXattrs reads the blob of the xattr column; nil for an empty one.
func ParseXattrs(blob []byte) (map[string][]byte, error) {
	if len(blob) == 0 {
		return nil, nil
	}
	if len(blob) < 2 || blob[0] != xattrVersion {
		return nil, fmt.Errorf("attributes: version %d or length %d is unknown", blob[0], len(blob))
	}
	count, rest := int(blob[1]), blob[2:]
	attrs := make(map[string][]byte, count)
	for range count {
		if len(rest) < 2 || len(rest) < 2+int(rest[0])+int(rest[1]) {
			return nil, errors.New("attributes: blob ends early")
		}
		k, v := int(rest[0]), int(rest[1])
		key := string(rest[2 : 2+k])
		if k == 0 || slices.Contains([]byte(key), 0) {
			return nil, fmt.Errorf("attributes: %q is not a name", key)
		}
		attrs[key] = slices.Clone(rest[2+k : 2+k+v])
		rest = rest[2+k+v:]
	}
	return attrs, nil
}

// MarshalXattrs writes the blob, attributes sorted by name, so that equal sets
// give equal catalogs. An empty set is nil. The format's limits (255
// attributes, 255 bytes a name or value) are errors.
func MarshalXattrs(attrs map[string][]byte) ([]byte, error) {
	if len(attrs) == 0 {
		return nil, nil
	}
	if len(attrs) > maxXattr {
		return nil, fmt.Errorf("%d extended attributes, a catalog holds %d", len(attrs), maxXattr)
	}
	names := make([]string, 0, len(attrs))
	for name := range attrs {
		names = append(names, name)
	}
	slices.Sort(names)
	blob := []byte{xattrVersion, byte(len(attrs))}
	for _, name := range names {
		value := attrs[name]
		if name == "" || len(name) > maxXattr || len(value) > maxXattr {
			return nil, fmt.Errorf("extended attribute %q: %d bytes, a catalog holds 1–%d of the name and %d of the value",
				name, len(value), maxXattr, maxXattr)
		}
		blob = append(blob, byte(len(name)), byte(len(value)))
		blob = append(append(blob, name...), value...)
	}
	return blob, nil
}
