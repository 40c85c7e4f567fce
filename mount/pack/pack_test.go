package pack

import (
	"bufio"
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/flatrun/flatrun/mount/cas"
	"github.com/flatrun/flatrun/mount/pack/squeeze"
)

func some(n int) (objects []cas.Object, contents [][]byte) {
	for i := range n {
		c := []byte(strings.Repeat("content ", i) + string(rune('a'+i)))
		o := cas.Object{Hash: cas.Sum(cas.SHA1, append([]byte("stored form of "), c...)), Size: int64(len(c))}
		switch i % 3 {
		case 1:
			o.Hash, o.Compression = cas.Sum(cas.SHAKE128, c), cas.None
		case 2:
			o.Suffix, o.Pinned = cas.CatalogSuffix, true
		}
		objects, contents = append(objects, o), append(contents, c)
	}
	return objects, contents
}

func read(part []byte) (objects []cas.Object, contents [][]byte, err error) {
	err = Read(bytes.NewReader(part), func(o cas.Object, content []byte) error {
		objects, contents = append(objects, o), append(contents, bytes.Clone(content))
		return nil
	})
	return objects, contents, err
}

func TestPart(t *testing.T) {
	for _, n := range []int{0, 1, 7} {
		objects, contents := some(n)
		part, err := Part(objects, contents, squeeze.Append)
		if err != nil {
			t.Fatal(err)
		}
		got, bytesOf, err := read(part)
		if err != nil || !slices.Equal(got, objects) || !slices.EqualFunc(bytesOf, contents, bytes.Equal) {
			t.Errorf("%d objects: read back %v, %v", n, got, err)
		}
		for cut := range part {
			if _, _, err := read(part[:cut]); !errors.Is(err, ErrFormat) {
				t.Errorf("%d of %d bytes: %v", cut, len(part), err)
			}
		}
	}
	objects, contents := some(3)
	part, err := Part(objects, contents, squeeze.Append)
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("enough")
	if err := Read(bytes.NewReader(part), func(cas.Object, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("an error of the taker: %v", err)
	}
}

// frame makes a part of a decompressed one, which may be anything.
func frame(plain []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	defer w.Close()
	return w.EncodeAll(plain, []byte(magic))
}

// TestWrong makes sure that wrong contents are not handed out.
func TestWrong(t *testing.T) {
	objects, contents := some(2)
	index := []byte{2}
	for i, o := range objects {
		index = appendEntry(index, o, contents[i])
	}
	swapped := slices.Concat(index, contents[1], contents[0])
	if got, _, err := read(frame(swapped)); !errors.Is(err, cas.ErrCorrupt) && !errors.Is(err, ErrFormat) || len(got) > 0 {
		t.Errorf("swapped contents: %v, %v", got, err)
	}
	// The digest of a plain object does not count, its name does.
	other := []byte("other")
	lie := append(appendEntry([]byte{1}, cas.Object{Hash: objects[1].Hash, Compression: cas.None, Size: 5}, other), other...)
	if got, _, err := read(frame(lie)); !errors.Is(err, cas.ErrCorrupt) || len(got) > 0 {
		t.Errorf("a plain object of another hash: %v, %v", got, err)
	}
	for name, plain := range map[string][]byte{
		"nothing": {}, "a number alone": {9}, "too many": {0xff, 0xff, 0xff, 0x7f}, "no contents": index, "bytes behind": slices.Concat(index, contents[0], contents[1], []byte{0}),
		"an algorithm that is none": append([]byte{1, 77}, index[2:]...),
	} {
		if _, _, err := read(frame(plain)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Part(make([]cas.Object, maxObjects+1), nil, squeeze.Append); err == nil {
		t.Error("too many objects make a part")
	}
}

func TestDir(t *testing.T) {
	hex := strings.Repeat("ab", 32)
	for image, want := range map[string]string{
		"/.flat/ab/" + hex:       Root + "/sha256-" + hex,
		"/.flat/ab/" + hex + "/": Root + "/sha256-" + hex,
	} {
		if got := Dir(image); got != want {
			t.Errorf("%s: %s", image, got)
		}
	}
	plain := Dir("/images/one")
	if !strings.HasPrefix(plain, Root+"/path-") || plain != Dir("images/one/") || plain == Dir("/images/two") || Dir("/.flat/ab/"+hex+"/usr") == Dir("/.flat/ab/"+hex) {
		t.Errorf("a plain directory: %s", plain)
	}
}

func FuzzIndex(f *testing.F) {
	objects, contents := some(3)
	plain := []byte{3}
	for i, o := range objects {
		plain = appendEntry(plain, o, contents[i])
	}
	f.Add(append(plain, bytes.Join(contents, nil)...))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := readIndex(bufio.NewReader(bytes.NewReader(b)))
		total := int64(0)
		for _, e := range entries {
			total += e.object.Size
		}
		if err == nil && total > MaxPart {
			t.Errorf("%d objects of %d bytes", len(entries), total)
		}
	})
}

func FuzzRead(f *testing.F) {
	objects, contents := some(4)
	part, err := Part(objects, contents, squeeze.Append)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(part)
	f.Fuzz(func(t *testing.T, b []byte) {
		Read(bytes.NewReader(b), func(o cas.Object, content []byte) error {
			if int64(len(content)) != o.Size {
				t.Errorf("%v: %d bytes", o, len(content))
			}
			return nil
		})
	})
}
