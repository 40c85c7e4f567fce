package publish

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flatrun/flatrun/mount/cas"
)

// keyOfContent is with the secret of the key that tests have.
func keyOfContent(data []byte, a cas.Algorithm, s cas.Suffix) contentKey {
	sum, err := newContentSum(testKeys().Repository)
	if err != nil {
		panic(err)
	}
	return sum.key(data, a, s)
}

// TestContentSum: any change of a content, of the key or of what else names the object is another key.
func TestContentSum(t *testing.T) {
	foreign, err := NewKeys(testFQRN, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	other, err := newContentSum(foreign.Repository)
	if err != nil {
		t.Fatal(err)
	}
	data := randomBytes(1000, 1)
	seen := map[contentKey]string{
		keyOfContent(data, cas.SHA1, 0):                 "as it is",
		keyOfContent(data, cas.RMD160, 0):               "algorithm",
		keyOfContent(data, cas.SHA1, cas.PartialSuffix): "suffix",
		other.key(data, cas.SHA1, 0):                    "key",
		keyOfContent(append(data, 0), cas.SHA1, 0):      "a zero more",
		keyOfContent(data[:999], cas.SHA1, 0):           "a byte less",
		keyOfContent(nil, cas.SHA1, 0):                  "nothing",
	}
	if keyOfContent(data, cas.SHA1, 0) != keyOfContent(bytes.Clone(data), cas.SHA1, 0) || len(seen) != 7 {
		t.Errorf("%d keys: %v", len(seen), seen)
	}
	for i := range data {
		seen[keyOfContent(flipped(data, i), cas.SHA1, 0)] = fmt.Sprint(i)
	}
	if len(seen) != 7+len(data) {
		t.Errorf("%d keys", len(seen))
	}
}

// someContents are records of n contents.
func someContents(n int) map[contentKey]storedForm {
	all := map[contentKey]storedForm{}
	for i := range n {
		b := binary.AppendUvarint(nil, uint64(i))
		a, s := cas.SHA1+cas.Algorithm(i%3), cas.Suffix(0)
		if i%2 == 0 {
			s = cas.PartialSuffix
		}
		all[keyOfContent(b, a, s)] = newStoredForm(cas.Sum(a, b), uint32(i))
	}
	return all
}

func TestContentsFile(t *testing.T) {
	keys := testKeys()
	key, head, n := keys.Repository, len(contentsHead), keys.Repository.Size()
	want := someContents(200)
	good, err := sealContents(nil, want, testFQRN, key)
	if err != nil {
		t.Fatal(err)
	}
	sealed := func(r records) []byte {
		b, err := sealContents(r, nil, testFQRN, key)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	body := records(good[head : len(good)-n])
	for _, c := range []struct {
		name string
		fqrn string
		b    []byte
		err  string // "": it is taken
	}{
		{"as written", testFQRN, good, ""},
		{"without records", testFQRN, sealed(nil), ""},
		{"of another repository", "other.example.org", good, "not signed"},
		{"a record changed", testFQRN, flipped(good, head+recordSize+40), "not signed"},
		{"the signature changed", testFQRN, flipped(good, len(good)-1), "not signed"},
		{"another's signature", testFQRN, slices.Concat(good[:len(good)-n], sealed(nil)[head:]), "not signed"},
		{"a record less", testFQRN, slices.Delete(slices.Clone(good), head, head+recordSize), "not signed"},
		{"cut off", testFQRN, good[:len(good)-1], "cut off"},
		{"cut to the head", testFQRN, good[:head], "cut off"},
		{"nothing", testFQRN, []byte{}, "cut off"},
		{"another version", testFQRN, flipped(good, head-2), "another version"},
		{"another file", testFQRN, flipped(good, 0), "no such index"},
		{"out of order", testFQRN, sealed(slices.Concat(body.at(1), body.at(0))), "record 1 is out of order"},
		{"a record twice", testFQRN, sealed(slices.Concat(body.at(0), body.at(1), body.at(1))), "record 2 is out of order"},
	} {
		r, err := openContents(bytes.Clone(c.b), c.fqrn, &key.PublicKey)
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.err)
		}
		if err != nil && r.len() > 0 {
			t.Errorf("%s: %d records of it are taken", c.name, r.len())
		}
	}
	r, err := openContents(good, testFQRN, &key.PublicKey)
	if err != nil || r.len() != len(want) {
		t.Fatalf("%d records, %v", r.len(), err)
	}
	for k, f := range want {
		if got, ok := r.find(k); !ok || got != f {
			t.Fatalf("%x: %x, %v", k, got, ok)
		}
	}
	kept := objectSet{}
	for i, k := range slices.SortedFunc(maps.Keys(want), func(a, b contentKey) int { return bytes.Compare(a[:], b[:]) }) {
		if i%3 == 0 {
			o, err := k.object(want[k].digest())
			if err != nil {
				t.Fatal(err)
			}
			kept.add(keyOf(o))
		} else {
			delete(want, k)
		}
	}
	if got := r.filter(&kept); !bytes.Equal(got, records(nil).appendMerged(nil, want)) {
		t.Errorf("%d records are kept, want %d", got.len(), len(want))
	}
}

// flipped is b with one bit changed.
func flipped(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i] ^= 1
	return b
}

// FuzzContentsFile: whatever is taken for records is sorted, finds each of them,
// and is written as it was read.
func FuzzContentsFile(f *testing.F) {
	f.Add(records(nil).appendMerged([]byte(contentsHead), someContents(3)), 0)
	f.Add([]byte(contentsHead+"signature"), 9)
	f.Add([]byte(contentsKind+"1\nsignature"), 9)
	f.Add([]byte{}, 1)
	f.Fuzz(func(t *testing.T, b []byte, signature int) {
		if signature < 0 {
			return
		}
		r, sign, err := parseContents(b, signature)
		if err != nil {
			return
		}
		if len(sign) != signature || !bytes.Equal(slices.Concat([]byte(contentsHead), r, sign), b) {
			t.Fatalf("%d bytes become %d and a signature of %d", len(b), len(r), len(sign))
		}
		for i := range r.len() {
			if at, ok := r.search(contentKey(r.key(i))); !ok || at != i {
				t.Fatalf("record %d is found at %d, %v", i, at, ok)
			}
		}
		if left := slices.Clone(r).filter(&objectSet{}); len(left) > 0 {
			t.Fatalf("%d records are kept of none", left.len())
		}
	})
}

// FuzzContents compares the index with a map, over notes and transactions.
func FuzzContents(f *testing.F) {
	f.Add([]byte("\x01\x02\x00\x01\x02\x03\x03\x00\x01\x05\x02"), 4)
	f.Fuzz(func(t *testing.T, steps []byte, limit int) {
		if limit < 0 || len(steps) > 200 {
			return
		}
		s, err := OpenDirectory(tempDir(t))
		if err != nil {
			t.Fatal(err)
		}
		open := func() *contents {
			c := newContents(s, testFQRN, testKeys().Repository, discard)
			c.limit = limit
			return c
		}
		c, want := open(), map[contentKey]storedForm{}
		for i, b := range steps {
			if b == 0 { // the transaction ends
				if err := c.save(t.Context()); err != nil {
					t.Fatal(err)
				}
				c = open()
				continue
			}
			k, h := keyOfContent([]byte{b}, cas.SHA1, 0), cas.Sum(cas.SHA1, []byte{byte(i)})
			c.note(t.Context(), k, h, i)
			if _, ok := want[k]; ok || len(want) < limit {
				want[k] = newStoredForm(h, uint32(i))
			}
		}
		for b := range 256 {
			k := keyOfContent([]byte{byte(b)}, cas.SHA1, 0)
			got, ok := c.find(t.Context(), k)
			if f, known := want[k]; ok != known || got != f {
				t.Fatalf("content %d: %x, %v, want %x, %v", b, got, ok, f, known)
			}
		}
	})
}

// BenchmarkKeyOfContent is of the smallest content that has a key, and of the largest chunk.
func BenchmarkKeyOfContent(b *testing.B) {
	for _, n := range []int{indexed, defaultChunks.Max} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			data := randomBytes(n, 1)
			sum, err := newContentSum(testKeys().Repository)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(n))
			for b.Loop() {
				sum.key(data, cas.SHA1, 0)
			}
		})
	}
}
